package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

// target is a gRPC server that knows nothing of Warren, and how the forwarding
// worker is told of it.
type target struct {
	name string
	// records: it tells the recorder of each start, and answers with the metadata
	// that arrived.
	records bool
	start   func(t testing.TB, p *platform, address string) *process
	// flags are the worker's, beside --target.
	flags func(t testing.TB) []string
}

func noFlags(testing.TB) []string { return nil }

// The targets.
var (
	demoTarget   = target{name: "demo", start: startDemo, flags: noFlags}
	goTarget     = target{name: "go", records: true, start: startGoServer, flags: noFlags}
	pythonTarget = target{name: "python", records: true, start: startPython, flags: func(t testing.TB) []string {
		return []string{"--descriptors", descriptorSet(t)}
	}}
	nodeTarget = target{name: "node", records: true, flags: noFlags, start: func(t testing.TB, p *platform, address string) *process {
		return startNode(t, p, address, protoFolders(t)...)
	}}
)

// startDemo starts the demo service, as its users do.
func startDemo(t testing.TB, p *platform, address string) *process {
	t.Helper()
	return startProcess(t, "target-demo", p.env, demoBinary, "serve", "--listen", address)
}

func startGoServer(t testing.TB, p *platform, address string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return startProcess(t, "target-go", append(p.env, targetEnv+"="+p.recorder.address()), self, address)
}

// descriptorSet is a file with the demo services' descriptors, as `buf build` and
// protoc make it.
func descriptorSet(t testing.TB) string {
	t.Helper()
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(demov1.File_demo_v1_fault_service_proto)
	add(demov1.File_demo_v1_image_service_proto)
	b, err := proto.Marshal(set)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "descriptors.binpb")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}

// output runs a command and gives what it prints.
func output(t testing.TB, cmd *exec.Cmd) []byte {
	t.Helper()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v\n%s", cmd.Args, out)
	return out
}
