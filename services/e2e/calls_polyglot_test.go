package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// foreignAnswer is what the client in Python prints of a call.
type foreignAnswer struct {
	Width, Height   int
	Same            bool
	Messages        [][3]int
	Code            int
	Message         string
	Header, Trailer map[string][]string
}

// A server in Node is called through the gateway by a client in Python: each has
// nothing but the code that is generated in its language.
func TestCallBetweenLanguages(t *testing.T) {
	t.Parallel()
	f := forward(t, nodeTarget, nil)
	f.awaitReady(t, typeFail)
	f.awaitReady(t, typeStream)
	client := exec.CommandContext(t.Context(), python(t), "polyglot/python/client.py",
		"--address", f.platform.address, "--picture", base64.StdEncoding.EncodeToString(picture(t)), "--generated", pythonCode(t))
	var stderr strings.Builder
	client.Stderr = &stderr
	out, err := client.Output()
	require.NoError(t, err, "%s", &stderr)
	var answers map[string]foreignAnswer
	require.NoError(t, json.Unmarshal(out, &answers))

	id := func(call string) string {
		ids := answers[call].Header["warren-task-id"]
		require.Len(t, ids, 1, "%s: %v", call, answers[call])
		return ids[0]
	}
	unary := answers["unary"]
	require.Equal(t, []any{3, 2, true}, []any{unary.Width, unary.Height, unary.Same})
	require.Equal(t, []string{"node"}, unary.Trailer["x-language"])

	var messages [][3]int
	for placed := 1; placed <= 7; placed++ {
		messages = append(messages, [3]int{placed, 7, 0})
	}
	messages[6][2] = len(picture(t))
	stream := answers["stream"]
	require.Equal(t, messages, stream.Messages)
	require.Equal(t, []string{"node"}, stream.Trailer["x-language"])
	require.Equal(t, []string{id("stream")}, stream.Trailer["seen-warren-task-id"], "the handler's headers")

	failed := answers["failure"]
	require.Equal(t, 9, failed.Code)
	require.Equal(t, "nicht möglich: 100 %", failed.Message)
	var st spb.Status
	var info errdetails.ErrorInfo
	details, err := base64.StdEncoding.DecodeString(failed.Trailer["grpc-status-details-bin"][0])
	require.NoError(t, err)
	require.NoError(t, proto.Unmarshal(details, &st))
	require.Equal(t, failed.Message, st.Message)
	require.Len(t, st.Details, 1)
	require.NoError(t, st.Details[0].UnmarshalTo(&info))
	require.Equal(t, []string{"BROKEN", "node"}, []string{info.Reason, info.Domain})

	for _, call := range []string{"failure", "metadata"} {
		a := answers[call]
		require.Equal(t, []string{"r-1"}, a.Header["seen-x-request-id"], call)
		require.Equal(t, []string{"AP7/"}, a.Header["seen-x-blob-bin"], call)
		require.Equal(t, []string{id(call)}, a.Header["seen-warren-task-id"], call)
		require.Equal(t, []string{"AP8="}, a.Trailer["x-blob-bin"], call)
	}
	require.Equal(t, succeeded, f.await(t, id("async")).State)
	require.Equal(t, map[string]string{"from": "python"}, f.await(t, id("async")).Labels)
	require.Equal(t, 4, answers["deadline"].Code)
	require.Equal(t, succeeded, f.await(t, id("deadline")).State, "the task goes on")
}
