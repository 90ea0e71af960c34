//go:build unix

package run

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	_ "github.com/warrenmq/warren/gen/warren/admin/v1"
	_ "github.com/warrenmq/warren/gen/warren/deadletter/v1"
)

const (
	gatewayAddress    = "127.0.0.1:7070"
	deadletterAddress = "127.0.0.1:7071"
)

// recorder is a grpcurl that writes down address, method and data of each call,
// and answers every one with a task's id.
const recorder = `#!/bin/sh
data='{}'; shift
while :; do case $1 in
-d) data=$2; shift 2 ;;
-max-time) shift 2 ;;
*) break ;;
esac; done
[ "$data" = @ ] && data=$(cat)
printf '%s\000%s\000%s\000' "$1" "$2" "$data" >>"$CALLS"
echo '{"task": {"taskId": "019ab000-0000-7000-8000-000000000001"}}'
`

type call struct{ address, method, data string }

// callsOf carries out the things to try and gives the calls that they make.
func callsOf(t *testing.T, picture string) []call {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "grpcurl"), []byte(recorder), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sleep"), []byte("#!/bin/sh\n"), 0o755), "nothing has to be waited for")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("CALLS", filepath.Join(dir, "calls"))
	text := thingsToTry(gatewayAddress, deadletterAddress, picture)
	require.NotRegexp(t, `\b(ADDRESS|DEADLETTER|PICTURE|FIRST_ID|ALIAS)\b`, text)
	var script []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") {
			script = append(script, line)
		}
	}
	shell := exec.Command("/bin/sh", "-eu")
	shell.Stdin = strings.NewReader(strings.Join(script, ""))
	out, err := shell.CombinedOutput()
	require.NoError(t, err, "%s", out)
	recorded, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	words := strings.Split(strings.TrimSuffix(string(recorded), "\x00"), "\x00")
	require.Zero(t, len(words)%3)
	var calls []call
	for i := 0; i < len(words); i += 3 {
		calls = append(calls, call{words[i], words[i+1], words[i+2]})
	}
	return calls
}

// What is typed must be what the API takes, sent to whom it concerns.
func TestTheThingsToTryAreValidCalls(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	require.NoError(t, os.Mkdir(dir, 0o755))
	picture, err := writeSample(dir)
	require.NoError(t, err)
	tried := map[string]int{}
	for _, c := range callsOf(t, picture) {
		service, name, isCall := strings.Cut(c.method, "/")
		tried[name]++
		if !isCall {
			require.Equal(t, gatewayAddress, c.address)
			continue
		}
		want := gatewayAddress
		if service == "warren.deadletter.v1.DeadLetterService" {
			want = deadletterAddress
		}
		require.Equal(t, want, c.address, c.method)
		requireRequest(t, protoreflect.FullName(service).Append(protoreflect.Name(name)), c.data)
	}
	require.Equal(t, 3, tried["SubmitTask"])
	for _, name := range []string{
		"BatchSubmitTasks", "WatchTasks", "ListTasks", "ListTaskAttempts", "ListDeadLetters", "ReplayDeadLetter", "ListTaskTypes", "UpdateTaskType", "CheckTopology",
	} {
		require.Equal(t, 1, tried[name], name)
	}
}

// requireRequest demands that the JSON is a valid request of the method.
func requireRequest(t *testing.T, name protoreflect.FullName, data string) {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	require.NoError(t, err)
	method, ok := found.(protoreflect.MethodDescriptor)
	require.True(t, ok, "%s is a %T", name, found)
	input, err := protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName())
	require.NoError(t, err)
	request := input.New().Interface()
	require.NoError(t, protojson.Unmarshal(masked(t, data), request), "%s: %.500s", name, data)
	require.NoError(t, protovalidate.Validate(request), "%s: %.500s", name, data)
}

// masked gives a FieldMask its JSON form. grpcurl knows none and takes its
// fields.
func masked(t *testing.T, text string) []byte {
	t.Helper()
	var request map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &request))
	fields, ok := request["update_mask"]
	if !ok {
		return []byte(text)
	}
	encoded, err := json.Marshal(fields)
	require.NoError(t, err)
	var mask struct{ Paths []string }
	require.NoError(t, json.Unmarshal(encoded, &mask))
	encoded, err = protojson.Marshal(&fieldmaskpb.FieldMask{Paths: mask.Paths})
	require.NoError(t, err)
	request["update_mask"] = json.RawMessage(encoded)
	encoded, err = json.Marshal(request)
	require.NoError(t, err)
	return encoded
}
