package discovery

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func fromFile(t *testing.T, content []byte, wanted ...string) (*Schema, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "descriptors.binpb")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return NewDescriptors(path, wanted).Learn(t.Context())
}

func marshal(t *testing.T, set *descriptorpb.FileDescriptorSet) []byte {
	t.Helper()
	content, err := proto.Marshal(set)
	require.NoError(t, err)
	return content
}

func without(set *descriptorpb.FileDescriptorSet, path string) *descriptorpb.FileDescriptorSet {
	set.File = slices.DeleteFunc(set.File, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == path })
	return set
}

func TestDescriptors(t *testing.T) {
	t.Parallel()
	set := targettest.Set()
	// Neither the order nor what no service needs matters.
	slices.Reverse(set.File)
	set.File = append(set.File, &descriptorpb.FileDescriptorProto{Name: proto.String("acme/v1/unused.proto")})
	content := marshal(t, set)
	schema, err := fromFile(t, content)
	require.NoError(t, err)
	requireEcho(t, schema)
	require.Equal(t, encoded(t, set)[targettest.FileEcho], schema.Files[2])

	reflected, err := learn(t, targettest.Config{Reflect: newFrugal(t)})
	require.NoError(t, err)
	require.Equal(t, reflected.ID(), schema.ID())

	// A field that this program does not know.
	unknown, err := fromFile(t, protowire.AppendVarint(protowire.AppendTag(content, 9, protowire.VarintType), 1))
	require.NoError(t, err)
	require.Equal(t, schema.ID(), unknown.ID())
}

func TestDescriptorsAreReadEachTime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "descriptors.binpb")
	require.NoError(t, os.WriteFile(path, marshal(t, targettest.Set()), 0o600))
	d := NewDescriptors(path, nil)
	first, err := d.Learn(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, marshal(t, targettest.Set("More")), 0o600))
	second, err := d.Learn(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first.ID(), second.ID())
	require.NoError(t, os.Remove(path))
	_, err = d.Learn(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDescriptorsNameWhatIsMissing(t *testing.T) {
	t.Parallel()
	twice := marshal(t, targettest.Set())
	twice = append(twice, marshal(t, without(without(targettest.Set("More"), targettest.FileDur), targettest.FileTypes))...)
	streams := targettest.Set()
	streams.File[2].Service[0].Method = streams.File[2].Service[0].Method[2:]
	for name, c := range map[string]struct {
		content []byte
		wanted  []string
		want    string
	}{
		"an import":                   {marshal(t, without(targettest.Set(), targettest.FileTypes)), nil, `"acme/v1/echo.proto" imports "acme/v1/types.proto"`},
		"one of protobuf's":           {marshal(t, without(targettest.Set(), targettest.FileDur)), nil, `imports "google/protobuf/duration.proto"`},
		"a service":                   {marshal(t, targettest.Set()), []string{"acme.v1.Other"}, "it has acme.v1.Echo"},
		"all services":                {marshal(t, without(targettest.Set(), targettest.FileEcho)), nil, "only none"},
		"all files":                   {nil, nil, "it has no files"},
		"a set":                       {[]byte("syntax = \"proto3\";"), nil, "no google.protobuf.FileDescriptorSet"},
		"a file":                      {protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff}), nil, "can't be decoded"},
		"one of two":                  {twice, nil, `two different files are called "acme/v1/echo.proto"`},
		"a method that can be a task": {marshal(t, streams), nil, "acme.v1.Echo.Chat"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := fromFile(t, c.content, c.wanted...)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "--descriptors")
		})
	}
}

func TestReservedServicesAreNoTasks(t *testing.T) {
	t.Parallel()
	set := targettest.Set()
	set.File[2].Package = proto.String("google.acme")
	_, err := fromFile(t, marshal(t, set))
	require.ErrorContains(t, err, "only google.acme.Echo")
	_, err = fromFile(t, marshal(t, set), "google.acme.Echo")
	require.ErrorContains(t, err, "reserved")
	for _, name := range []string{"grpc.health.v1.Health", "warren.task.v1.TaskService", "google.x.Y"} {
		require.True(t, reserved(name), name)
	}
	for _, name := range []string{"grpc", "grpcx.Y", "acme.grpc.Y"} {
		require.False(t, reserved(name), name)
	}
}

func TestTheOrderOfFilesDoesNotMatter(t *testing.T) {
	t.Parallel()
	want, err := fromFile(t, marshal(t, targettest.Set()))
	require.NoError(t, err)
	rapid.Check(t, func(r *rapid.T) {
		set := targettest.Set()
		set.File = rapid.Permutation(set.File).Draw(r, "files")
		content, err := proto.Marshal(set)
		require.NoError(r, err)
		files, err := parseSet(content)
		require.NoError(r, err)
		got, err := newSchema([]string{targettest.Service}, files)
		require.NoError(r, err)
		require.Equal(r, want.ID(), got.ID())
		require.Equal(r, want.Files, got.Files)
	})
}

func FuzzParseSet(f *testing.F) {
	content, err := proto.Marshal(targettest.Set())
	require.NoError(f, err)
	f.Add(content)
	f.Add([]byte{0x0a, 0x00})
	f.Fuzz(func(t *testing.T, content []byte) {
		files, err := parseSet(content)
		if err == nil {
			require.NotEmpty(t, files.byPath)
		}
	})
}
