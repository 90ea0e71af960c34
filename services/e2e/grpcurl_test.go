package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// grpcurl runs grpcurl, pinned in .tools/grpcurl.mod, on the gateway.
func (p *platform) grpcurl(t testing.TB, args ...string) string {
	t.Helper()
	modfile, err := filepath.Abs("../../.tools/grpcurl.mod")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=" + modfile, "grpcurl", "-plaintext"}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
		require.Fail(t, "grpcurl failed", "%v: %s", args, exit.Stderr)
	}
	return string(out)
}

// TestGrpcurlWithoutProtoFiles: everything that a person on call types works
// by reflection alone, the users' own types included.
func TestGrpcurlWithoutProtoFiles(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)

	services := p.grpcurl(t, p.address, "list")
	require.Contains(t, services, "warren.task.v1.TaskService")
	require.Contains(t, services, "demo.v1.FaultService", "the users' services are there too")
	require.Contains(t, p.grpcurl(t, p.address, "describe", "demo.v1.FaultService.Delay"), "rpc Delay ( .demo.v1.DelayRequest )")
	require.Contains(t, p.grpcurl(t, p.address, "describe", "demo.v1.DelayRequest"), "google.protobuf.Duration delay = 1")

	var submitted struct {
		Task struct{ TaskID, ResumeToken string }
	}
	decode(t, p.grpcurl(t, "-d", `{
		"type": "demo.v1.FaultService.Delay",
		"payload": {"@type": "type.googleapis.com/demo.v1.DelayRequest", "delay": "0.3s"},
		"labels": {"tried-by": "grpcurl"}
	}`, p.address, "warren.task.v1.TaskService/SubmitTask"), &submitted)

	// -expand-headers and the like aside, a watch prints one JSON after another.
	watched := p.grpcurl(t, "-d", `{"task_id":"`+submitted.Task.TaskID+`","resume_token":"`+submitted.Task.ResumeToken+`"}`,
		p.address, "warren.task.v1.TaskService/WatchTask")
	// A worker may be faster than the news that its task is queued.
	for _, shown := range []string{"EVENT_KIND_QUEUED", "EVENT_KIND_STARTED", "EVENT_KIND_SUCCEEDED", "TASK_STATE_RUNNING", "TASK_STATE_SUCCEEDED"} {
		require.Contains(t, watched, shown)
	}

	var got struct {
		Task struct {
			State   string
			Labels  map[string]string
			Payload map[string]string
			Result  map[string]string
		}
	}
	decode(t, p.grpcurl(t, "-d", `{"task_id":"`+submitted.Task.TaskID+`","view":"TASK_VIEW_FULL"}`,
		p.address, "warren.task.v1.TaskService/GetTask"), &got)
	require.Equal(t, "TASK_STATE_SUCCEEDED", got.Task.State)
	require.Equal(t, map[string]string{"tried-by": "grpcurl"}, got.Task.Labels)
	require.Equal(t, "0.300s", got.Task.Payload["delay"], "the payload is shown as the user's message")
	require.Equal(t, "type.googleapis.com/demo.v1.DelayResponse", got.Task.Result["@type"])
	require.Contains(t, p.grpcurl(t, "-d", `{"task_id":"`+submitted.Task.TaskID+`"}`,
		p.address, "warren.task.v1.TaskService/ListTaskAttempts"), "ATTEMPT_OUTCOME_SUCCEEDED")

	// Every other call that takes a payload, or shows one, or a result.
	const task = `{"type": "demo.v1.FaultService.Delay", "payload": {"@type": "type.googleapis.com/demo.v1.DelayRequest", "delay": "0.200s"}}`
	one := `{"task_id":"` + submitted.Task.TaskID + `"`
	for method, c := range map[string]struct{ request, shows string }{
		"warren.task.v1.TaskService/BatchSubmitTasks": {`{"requests": [` + task + `]}`, `"taskId"`},
		"warren.task.v1.TaskService/SubmitTasks":      {`{"request": ` + task + `}`, `"taskId"`},
		"warren.task.v1.TaskService/WaitTask":         {one + `, "view": "TASK_VIEW_FULL"}`, `demo.v1.DelayResponse`},
		"warren.admin.v1.AdminService/CreateSchedule": {`{"schedule": {"schedule_id": "by-hand", "cron": "0 12 * * *", "task": ` + task + `}}`, `"delay": "0.200s"`},
		"warren.admin.v1.AdminService/ListSchedules":  {`{}`, ``},
		"warren.task.v1.TaskService/ListTasks":        {`{"view": "TASK_VIEW_FULL"}`, `demo.v1.DelayRe`},
	} {
		require.Contains(t, p.grpcurl(t, "-d", c.request, p.address, method), c.shows, method)
	}
}

// The dead-letter service shows messages of the users' types too, which it has from the
// gateway; while that is away it shows all but those.
func TestGrpcurlShowsDeadLetters(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeFail)
	p.startDeadletter(t)
	id := p.ask(t, typeFail, fail(codes.FailedPrecondition, "as it was sent"), func(*taskv1.SubmitTaskRequest) {}).TaskId
	p.awaitDead(t, "", 1, 20*time.Second)
	show := `{"dead_letter_id":"` + id + `","view":"DEAD_LETTER_VIEW_FULL"}`
	const get = "warren.deadletter.v1.DeadLetterService/GetDeadLetter"
	shown := p.grpcurl(t, "-d", show, p.deadAddress, get)
	require.Contains(t, shown, `"@type": "type.googleapis.com/demo.v1.FailRequest"`)
	require.Contains(t, shown, `"message": "as it was sent"`)
	require.NotContains(t, p.grpcurl(t, p.deadAddress, "list"), "demo.v1", "they are called at the gateway")

	p.gateway.kill()
	listed := p.grpcurl(t, p.deadAddress, "warren.deadletter.v1.DeadLetterService/ListDeadLetters")
	require.Contains(t, listed, id)
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), text)
}
