package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// A server in any language is a worker: results, failures and streams are those
// of its own methods.
func TestForward(t *testing.T) {
	t.Parallel()
	for _, tg := range []target{demoTarget, pythonTarget, nodeTarget} {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			f := forward(t, tg, nil)
			f.awaitReady(t, typeFail)
			f.awaitReady(t, typeStream)
			t.Run("result", f.checkResult)
			t.Run("failures", f.checkFailures)
			t.Run("exception", f.checkException)
			t.Run("retries", f.checkRetries)
			t.Run("stream", f.checkStream)
			t.Run("timeout", f.checkTimeout)
		})
	}
}

func (f *forwarding) checkResult(t *testing.T) {
	done := f.await(t, f.submit(t, typeResult, &demov1.ThumbnailRequest{Image: picture(t)}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State, "%v", done.Failure)
	var result demov1.ThumbnailResponse
	require.NoError(t, done.Result.UnmarshalTo(&result))
	require.EqualValues(t, 3, result.Width)
	require.EqualValues(t, 2, result.Height)
	require.Equal(t, demov1.ImageFormat_IMAGE_FORMAT_PNG, result.Format)
	require.NotEmpty(t, result.Image)
	if f.target.records {
		require.Equal(t, []start{{1, 1}}, f.recorder.of(done.TaskId))
	}
}

// Every status comes back as the target gave it: code, message and details.
func (f *forwarding) checkFailures(t *testing.T) {
	const message = "nicht möglich: 100 %\nüberhaupt nicht"
	ids := map[codes.Code]string{}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		ids[code] = f.ask(t, typeFail, &demov1.FailRequest{Code: int32(code), Message: message, Reason: "BROKEN"}, func(r *taskv1.SubmitTaskRequest) {
			r.Retry = quickly(1)
		}).TaskId
	}
	for code, id := range ids {
		done := f.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State, code)
		require.EqualValues(t, code, done.Failure.GetCode())
		require.Equal(t, message, done.Failure.Message, code)
		require.Equal(t, taskv1.FailureKind_FAILURE_KIND_ERROR, done.Failure.Kind, code)
		require.Len(t, done.Failure.Details, 1, code)
		var info errdetails.ErrorInfo
		require.NoError(t, done.Failure.Details[0].UnmarshalTo(&info))
		require.Equal(t, "BROKEN", info.Reason)
		require.Equal(t, f.target.name, info.Domain)
	}
}

// What a language makes of an error that nobody caught.
func (f *forwarding) checkException(t *testing.T) {
	done := f.await(t, f.ask(t, typePanic, &demov1.PanicRequest{Message: "ouch"}, func(r *taskv1.SubmitTaskRequest) {
		r.Retry = quickly(2)
	}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State)
	require.Contains(t, done.Failure.Message, "ouch")
	require.EqualValues(t, 2, done.Attempt)
}

// A failure that the target answered with spends its attempt, UNAVAILABLE too.
func (f *forwarding) checkRetries(t *testing.T) {
	done := f.await(t, f.ask(t, typeStuck, &demov1.FailTimesRequest{Key: "k", Times: 2}, func(r *taskv1.SubmitTaskRequest) {
		r.Retry = quickly(5)
	}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State, "%v", done.Failure)
	require.EqualValues(t, 3, done.Attempt)
	var result demov1.FailTimesResponse
	require.NoError(t, done.Result.UnmarshalTo(&result))
	require.EqualValues(t, 3, result.Calls)
	if f.target.records {
		require.Equal(t, []start{{1, 1}, {1, 2}, {1, 3}}, f.recorder.of(done.TaskId))
	}
}

func (f *forwarding) checkStream(t *testing.T) {
	accepted := f.submit(t, typeStream, pictures(t, 40))
	watch, err := f.tasks.WatchTask(t.Context(), &taskv1.WatchTaskRequest{
		TaskId: accepted.TaskId, ResumeToken: accepted.ResumeToken, View: taskv1.TaskView_TASK_VIEW_FULL,
	})
	require.NoError(t, err)
	var placed int32
	for {
		m, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		message := m.GetEvent().GetMessage()
		if message == nil {
			continue
		}
		var c demov1.ContactSheetResponse
		require.NoError(t, message.UnmarshalTo(&c))
		placed++
		require.Equal(t, placed, c.Placed, "in order, each once")
		require.EqualValues(t, 40, c.Total)
		require.Equal(t, placed == 40, len(c.Sheet) > 0)
	}
	require.EqualValues(t, 40, placed)
	done := f.await(t, accepted.TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State, "%v", done.Failure)
	var result demov1.ContactSheetResponse
	require.NoError(t, done.Result.UnmarshalTo(&result))
	require.NotEmpty(t, result.Sheet, "the last message is the result")
}

func (f *forwarding) checkTimeout(t *testing.T) {
	done := f.await(t, f.ask(t, typeDelay, delay(3*time.Second), func(r *taskv1.SubmitTaskRequest) {
		r.Retry, r.Timeout = quickly(1), durationpb.New(200*time.Millisecond)
	}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State)
	require.EqualValues(t, codes.DeadlineExceeded, done.Failure.Code)
	require.Equal(t, taskv1.FailureKind_FAILURE_KIND_TIMEOUT, done.Failure.Kind)
}

// The caller's metadata arrives at the target, less what never travels; beside it
// the task's identity, the deadline and the trace. Its headers and trailers come
// back.
func TestForwardMetadata(t *testing.T) {
	t.Parallel()
	for _, tg := range []target{pythonTarget, nodeTarget} {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			receiver := newOTLPReceiver(t)
			own := filepath.Join(t.TempDir(), "metadata")
			require.NoError(t, os.WriteFile(own, []byte("authorization: Bearer of-the-worker\n"), 0o600))
			f := forward(t, tg, []string{"--metadata-file", own}, withEnv(
				"OTEL_EXPORTER_OTLP_ENDPOINT=http://"+receiver.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=100",
			))
			f.awaitReady(t, typeFail)
			t.Run("unary", func(t *testing.T) {
				f.checkMetadata(t, &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))})
			})
			t.Run("stream", func(t *testing.T) {
				f.checkMetadata(t, &taskv1.SubmitTaskRequest{Type: typeStream, Payload: payload(t, pictures(t, 3))})
			})
			t.Run("failure", func(t *testing.T) {
				f.checkMetadata(t, &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, fail(codes.NotFound, "no"))})
			})
		})
	}
}

func (f *forwarding) checkMetadata(t *testing.T, r *taskv1.SubmitTaskRequest) {
	r.Timeout = durationpb.New(50 * time.Second)
	done := f.await(t, f.with(t, metadata.Pairs(
		"x-request-id", "r-1", "x-tags", "a", "x-tags", "b", "x-blob-bin", "\x00\xfe\xff",
		"authorization", "Bearer of-the-caller", "cookie", "secret", "warren-attempt", "7",
	), r).TaskId)
	seen := func(key string) string { return strings.Join(entry(done.ResponseHeaders, "seen-"+key), ",") }
	require.Equal(t, "r-1", seen("x-request-id"), "%v", done)
	require.Equal(t, "a,b", strings.ReplaceAll(seen("x-tags"), ", ", ","))
	require.Equal(t, "AP7/", strings.TrimRight(seen("x-blob-bin"), "="))
	require.Equal(t, "Bearer of-the-worker", seen("authorization"), "the caller's never travels, the worker has its own")
	require.Empty(t, seen("cookie"))
	require.Equal(t, []string{done.TaskId, "1", "1"}, []string{seen("warren-task-id"), seen("warren-run"), seen("warren-attempt")})
	require.Contains(t, seen("traceparent"), done.TraceId)
	left, err := strconv.Atoi(strings.TrimSuffix(seen("deadline-ms"), ".0"))
	require.NoError(t, err)
	require.Greater(t, left, 30_000)
	require.LessOrEqual(t, left, 50_000)
	require.Equal(t, []string{f.target.name}, entry(done.ResponseTrailers, "x-language"))
	require.Equal(t, "AP8", strings.TrimRight(strings.Join(entry(done.ResponseTrailers, "x-blob-bin"), ","), "="))
	attempts := f.attempts(t, done.TaskId)
	require.Equal(t, done.ResponseTrailers, attempts[len(attempts)-1].ResponseTrailers)
}

// A target that comes back with another schema is learned again.
func TestForwardLearnsAChangedSchema(t *testing.T) {
	t.Parallel()
	f := forward(t, nodeTarget, nil)
	f.awaitReady(t, typeFail)
	const added = "demo.v1.FaultService.Later"
	_, err := f.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: added, Payload: payload(t, &demov1.DelayRequest{})})
	requireReason(t, err, "TASK_TYPE_NOT_FOUND")

	const file, method = "demo/v1/fault_service.proto", "rpc Fail(FailRequest)"
	text, err := os.ReadFile(filepath.Join("../../proto", file))
	require.NoError(t, err)
	require.Contains(t, string(text), method)
	changed := strings.Replace(string(text), method, "rpc Later(DelayRequest) returns (DelayResponse);\n  "+method, 1)
	folder := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(folder, filepath.Dir(file)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(changed), 0o600))
	f.server.kill()
	f.server = startNode(t, f.platform, f.address, append([]string{folder}, protoFolders(t)...)...)

	f.awaitReady(t, added)
	for _, taskType := range []string{added, typeDelay} {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, f.await(t, f.submit(t, taskType, delay(time.Millisecond)).TaskId).State)
	}
}

// While the target says NOT_SERVING, no task is taken and no attempt spent.
func TestForwardTakesNothingWhileNotServing(t *testing.T) {
	t.Parallel()
	f := forward(t, nodeTarget, nil)
	f.awaitReady(t, typeDelay)
	first := f.submit(t, typeDelay, delay(0)).TaskId
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, f.await(t, first).State)

	require.NoError(t, f.server.cmd.Process.Signal(syscall.SIGUSR2))
	f.awaitLog(t, "the worker sees it", "NOT_SERVING")
	ids := f.submitMany(t, 100, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))}
	})
	brokertest.Eventually(t, 15*time.Second, func() bool {
		return f.broker.Queue(t, "warren.work."+typeDelay).MessagesReady == len(ids)
	})
	require.Equal(t, 1, f.recorder.tasks())

	require.NoError(t, f.server.cmd.Process.Signal(syscall.SIGUSR2))
	for _, id := range ids {
		done := f.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 1, done.Attempt)
		require.Equal(t, []start{{1, 1}}, f.recorder.of(id))
	}
}

// awaitLog waits until the forwarding worker has logged the text.
func (f *forwarding) awaitLog(t testing.TB, what, text string) {
	t.Helper()
	brokertest.Eventually(t, 15*time.Second, func() error {
		b, err := os.ReadFile(f.worker.log)
		if err == nil && !strings.Contains(string(b), text) {
			return fmt.Errorf("%s: %q is not in its log", what, text)
		}
		return err
	})
}
