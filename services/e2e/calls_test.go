package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/task"
)

// calling is a context for one call, with metadata.
func calling(t testing.TB, within time.Duration, pairs ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(with(t.Context(), pairs...), within)
	t.Cleanup(cancel)
	return ctx
}

// taskOf is the task's id that a header has.
func taskOf(t testing.TB, header metadata.MD) string {
	t.Helper()
	ids := header.Get(callmeta.KeyTaskID)
	require.Len(t, ids, 1, "%v", header)
	return ids[0]
}

// listed gives all tasks that a filter finds, whatever was accepted before.
func (p *platform) listed(t testing.TB, filter string) (all []*taskv1.Task) {
	t.Helper()
	// That there is no such task is said once the store has caught up.
	brokertest.Eventually(t, 20*time.Second, func() error {
		_, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: task.NewID()})
		if status.Code(err) != codes.NotFound {
			return fmt.Errorf("the store has not caught up: %w", err)
		}
		return nil
	})
	r := &taskv1.ListTasksRequest{Filter: filter, PageSize: 500}
	for {
		page, err := p.tasks.ListTasks(t.Context(), r)
		require.NoError(t, err)
		all = append(all, page.Tasks...)
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			return all
		}
	}
}

// awaitStartsOf waits until a task was started n times.
func (p *platform) awaitStartsOf(t testing.TB, id string, n int) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		if got := p.recorder.of(id); len(got) != n {
			return fmt.Errorf("the starts of %s are %v", id, got)
		}
		return nil
	})
}

const (
	succeeded    = taskv1.TaskState_TASK_STATE_SUCCEEDED
	wasCancelled = taskv1.TaskState_TASK_STATE_CANCELLED
)

// What a call says and asks for, on one platform.
func TestCall(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "150")
	for _, taskType := range []string{typeDelay, typeFail, typeStream, typeResult} {
		p.awaitReady(t, taskType)
	}
	for name, check := range map[string]func(*testing.T){
		"async":                       p.checkAsync,
		"id before the end":           p.checkEarlyID,
		"deadline leaves the task":    p.checkDeadline,
		"cancelling leaves the task":  p.checkCancel,
		"cancelling cancels if asked": p.checkCancelOnDisconnect,
		"being cut cancels if asked":  p.checkCutOnDisconnect,
		"a deadline is no cancel":     p.checkDeadlineIsNoCancel,
		"same key joins":              p.checkJoin,
		"same key joins a stream":     p.checkJoinStream,
		"key of another payload":      p.checkKeyConflict,
		"options":                     p.checkOptions,
		"expired":                     p.checkExpired,
		"bad metadata":                p.checkBadMetadata,
		"undecodable":                 p.checkUndecodable,
		"too large":                   p.checkTooLarge,
		"last failure":                p.checkLastFailure,
		"cancelled task":              p.checkCancelledTask,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t)
		})
	}
}

func (p *platform) checkAsync(t *testing.T) {
	var header metadata.MD
	begin := time.Now()
	r, err := faults(p.conn).Delay(calling(t, 20*time.Second, callmeta.KeyMode, "async"), delay(3*time.Second), grpc.Header(&header))
	require.NoError(t, err)
	require.Less(t, time.Since(begin), 3*time.Second)
	requireSame(t, &demov1.DelayResponse{}, r)
	id := taskOf(t, header)
	messages, err := every(images(p.conn).ContactSheet(calling(t, 20*time.Second, callmeta.KeyMode, "async"), &demov1.ContactSheetRequest{Columns: 3}))
	require.NoError(t, err)
	require.Empty(t, messages)
	require.Equal(t, succeeded, p.await(t, id).State)
}

// The id is there while the task goes on, of a unary method too.
func (p *platform) checkEarlyID(t *testing.T) {
	s, err := images(p.conn).ContactSheet(calling(t, 20*time.Second), &demov1.ContactSheetRequest{Columns: 2, CellSize: 1000})
	require.NoError(t, err)
	header, err := s.Header()
	require.NoError(t, err)
	r, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: taskOf(t, header)})
	require.NoError(t, err)
	require.Less(t, r.Task.State, succeeded)
	messages, err := every(s, nil)
	require.NoError(t, err)
	require.Len(t, messages, 2)

	raw, err := p.conn.NewStream(calling(t, 20*time.Second), &grpc.StreamDesc{}, demov1.FaultService_Delay_FullMethodName)
	require.NoError(t, err)
	require.NoError(t, raw.SendMsg(delay(time.Second)))
	require.NoError(t, raw.CloseSend())
	header, err = raw.Header()
	require.NoError(t, err)
	r, err = p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: taskOf(t, header)})
	require.NoError(t, err)
	require.Less(t, r.Task.State, succeeded)
	require.NoError(t, raw.RecvMsg(new(demov1.DelayResponse)))
}

func (p *platform) checkDeadline(t *testing.T) {
	var header metadata.MD
	_, err := faults(p.conn).Delay(calling(t, 700*time.Millisecond), delay(2*time.Second), grpc.Header(&header))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
	done := p.await(t, taskOf(t, header))
	require.Equal(t, succeeded, done.State)
	require.Equal(t, []start{{1, 1}}, p.recorder.of(done.TaskId))
}

func (p *platform) checkCancel(t *testing.T) {
	done := p.cancelCall(t)
	require.Equal(t, succeeded, done.State)
	require.Equal(t, []start{{1, 1}}, p.recorder.of(done.TaskId))
}

func (p *platform) checkCancelOnDisconnect(t *testing.T) {
	done := p.cancelCall(t, callmeta.KeyCancelOnDisconnect, "true")
	require.Equal(t, wasCancelled, done.State)
	require.Contains(t, done.CancelReason, "its caller")
}

// cancelCall cancels a call once its task is under way, and gives the task at its end.
func (p *platform) cancelCall(t *testing.T, pairs ...string) *taskv1.Task {
	ctx, cancel := context.WithCancel(calling(t, 20*time.Second, pairs...))
	defer cancel()
	s, err := p.conn.NewStream(ctx, &grpc.StreamDesc{}, demov1.FaultService_Delay_FullMethodName)
	require.NoError(t, err)
	require.NoError(t, s.SendMsg(delay(2*time.Second)))
	require.NoError(t, s.CloseSend())
	header, err := s.Header()
	require.NoError(t, err)
	id := taskOf(t, header)
	p.awaitStartsOf(t, id, 1)
	cancel()
	require.Equal(t, codes.Canceled, status.Code(s.RecvMsg(new(demov1.DelayResponse))))
	return p.await(t, id)
}

func (p *platform) checkCutOnDisconnect(t *testing.T) {
	conn := dial(t, p.address)
	s, err := images(conn).ContactSheet(calling(t, 20*time.Second, callmeta.KeyCancelOnDisconnect, "true"), &demov1.ContactSheetRequest{Columns: 100, CellSize: 100})
	require.NoError(t, err)
	_, err = s.Recv()
	require.NoError(t, err)
	header, err := s.Header()
	require.NoError(t, err)
	conn.Close()
	require.Equal(t, wasCancelled, p.await(t, taskOf(t, header)).State)
}

// The client's own end of a call reaches the gateway as its cancelling, at its
// deadline too.
func (p *platform) checkDeadlineIsNoCancel(t *testing.T) {
	const calls = 100
	var g errgroup.Group
	for i := range calls {
		g.Go(func() error {
			ctx := calling(t, time.Duration(300+3*i)*time.Millisecond, callmeta.KeyCancelOnDisconnect, "true", callmeta.KeyLabels, "check=deadline")
			if _, err := faults(p.conn).Delay(ctx, delay(1500*time.Millisecond)); status.Code(err) != codes.DeadlineExceeded {
				return fmt.Errorf("call %d is answered before its deadline: %w", i, err)
			}
			return nil
		})
	}
	err := g.Wait()
	tasks := p.listed(t, "labels.check = deadline")
	require.NotEmpty(t, tasks)
	for _, task := range tasks {
		require.Equal(t, succeeded, p.await(t, task.TaskId).State)
	}
	require.NoError(t, err)
	require.Len(t, tasks, calls)
}

func (p *platform) checkJoin(t *testing.T) {
	const callers = 5
	ids := make([]string, callers)
	call := func(i int) error {
		var header metadata.MD
		_, err := faults(p.conn).Delay(calling(t, 20*time.Second, callmeta.KeyIdempotencyKey, "join"), delay(time.Second), grpc.Header(&header))
		if err == nil {
			ids[i] = taskOf(t, header)
			if got := header.Get("x-handler"); len(got) != 1 || got[0] != "delay" {
				return fmt.Errorf("the handler's headers are %v", got)
			}
		}
		return err
	}
	var g errgroup.Group
	for i := range callers - 1 {
		g.Go(func() error { return call(i) })
	}
	require.NoError(t, g.Wait())
	begin := time.Now()
	require.NoError(t, call(callers-1))
	require.Less(t, time.Since(begin), time.Second, "its task has ended")
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.Equal(t, []start{{1, 1}}, p.recorder.of(ids[0]))
}

func (p *platform) checkJoinStream(t *testing.T) {
	call := func() (string, error) {
		s, err := images(p.conn).ContactSheet(calling(t, 20*time.Second, callmeta.KeyIdempotencyKey, "join"), &demov1.ContactSheetRequest{Columns: 20, CellSize: 40})
		if err != nil {
			return "", err
		}
		messages, err := every(s, nil)
		if len(messages) != 20 {
			return "", fmt.Errorf("%d messages: %w", len(messages), err)
		}
		for i, m := range messages {
			if placed := m.(*demov1.ContactSheetResponse).Placed; int(placed) != i+1 {
				return "", fmt.Errorf("message %d comes in place %d", placed, i+1)
			}
		}
		header, _ := s.Header()
		return taskOf(t, header), err
	}
	var g errgroup.Group
	ids := make([]string, 4)
	for i := range 3 {
		g.Go(func() (err error) {
			// Each joins while the messages come.
			_ = wait(t.Context(), time.Duration(i)*200*time.Millisecond)
			ids[i], err = call()
			return err
		})
	}
	require.NoError(t, g.Wait())
	var err error
	ids[3], err = call()
	require.NoError(t, err)
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.Equal(t, []start{{1, 1}}, p.recorder.of(ids[0]))
}

func (p *platform) checkKeyConflict(t *testing.T) {
	ctx := calling(t, 20*time.Second, callmeta.KeyIdempotencyKey, "conflict")
	_, err := faults(p.conn).Delay(ctx, delay(0))
	require.NoError(t, err)
	_, err = faults(p.conn).Delay(ctx, delay(time.Millisecond))
	require.Equal(t, codes.AlreadyExists, status.Code(err))
	requireReason(t, err, "IDEMPOTENCY_KEY_CONFLICT")
}

// Every option is in the task.
func (p *platform) checkOptions(t *testing.T) {
	expire := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	o := callmeta.Options{
		Priority: taskv1.Priority_PRIORITY_HIGH, Delay: 1500 * time.Millisecond, ExpireTime: expire, Labels: map[string]string{"size": "größe=1, y"},
		MaxAttempts: 2, IdempotencyKey: "schlüssel 100 %",
	}
	var header metadata.MD
	begin := time.Now()
	ctx := metadata.NewOutgoingContext(calling(t, 20*time.Second), o.Metadata())
	_, err := faults(p.conn).Fail(ctx, &demov1.FailRequest{Code: int32(codes.Unavailable), Message: "again"}, grpc.Header(&header))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Greater(t, time.Since(begin), o.Delay)
	r, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: taskOf(t, header)})
	require.NoError(t, err)
	require.Equal(t, o.Priority, r.Task.Priority)
	require.Equal(t, o.Labels, r.Task.Labels)
	require.True(t, expire.Equal(r.Task.ExpireTime.AsTime()))
	require.InDelta(t, 1.5, r.Task.ScheduleTime.AsTime().Sub(begin).Seconds(), 0.7)
	require.EqualValues(t, 2, r.Task.Attempt)
	again, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{
		Type: typeFail, Payload: payload(t, &demov1.FailRequest{Code: int32(codes.Unavailable), Message: "again"}), IdempotencyKey: o.IdempotencyKey,
	})
	require.NoError(t, err)
	require.True(t, again.AlreadySubmitted)
	require.Equal(t, r.Task.TaskId, again.Task.TaskId)
}

// What could not be tried again in its time is answered with its last failure, or with
// that if an attempt was due.
func (p *platform) checkExpired(t *testing.T) {
	var header metadata.MD
	_, err := faults(p.conn).Fail(calling(t, 20*time.Second, callmeta.KeyExpire, "100ms"),
		&demov1.FailRequest{Code: int32(codes.Unavailable), Message: "until it expires"}, grpc.Header(&header))
	if status.Code(err) == codes.DeadlineExceeded {
		requireReason(t, err, "EXPIRED")
	} else {
		require.Equal(t, codes.Unavailable, status.Code(err), "the last failure: %v", err)
	}
	require.Equal(t, taskv1.Cause_CAUSE_EXPIRED, p.await(t, taskOf(t, header)).Cause)
	_, err = faults(p.conn).Fail(calling(t, 20*time.Second, callmeta.KeyExpire, "100ms", callmeta.KeyDelay, "1s"), &demov1.FailRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, callmeta.KeyExpire, badField(t, err))
	require.Contains(t, err.Error(), "nothing was submitted: warren-expire: must be later than the time at which")
}

func (p *platform) checkBadMetadata(t *testing.T) {
	for key, value := range map[string]string{
		callmeta.KeyMode: "later", callmeta.KeyPriority: "10", callmeta.KeyDelay: "-1s", callmeta.KeyExpire: "yesterday", callmeta.KeyLabels: "x",
		callmeta.KeyMaxAttempts: "0", callmeta.KeyIdempotencyKey: "%", callmeta.KeyCancelOnDisconnect: "no", callmeta.KeyHeaders: "never", "warren-nothing": "1",
	} {
		_, err := faults(p.conn).Delay(calling(t, 20*time.Second, key, value, callmeta.KeyRun, "1"), delay(0))
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", key, err)
		requireReason(t, err, "INVALID_REQUEST")
		require.Equal(t, key, badField(t, err))
		require.Contains(t, err.Error(), key)
	}
	_, err := faults(p.conn).Delay(calling(t, 20*time.Second, "x-large", strings.Repeat("x", 20_000)), delay(0))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, "x-large", requireReason(t, err, "INVALID_REQUEST").Metadata["largest_key"])
}

func (p *platform) checkUndecodable(t *testing.T) {
	var answer frame.Frame
	err := p.conn.Invoke(calling(t, 20*time.Second), demov1.FaultService_Delay_FullMethodName, &frame.Frame{Bytes: []byte{0x0a, 0x05, 0x01}}, &answer, grpc.ForceCodecV2(frame.Codec()))
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	requireReason(t, err, "PAYLOAD_UNDECODABLE")
}

// There is one limit, for requests and answers.
func (p *platform) checkTooLarge(t *testing.T) {
	limit := fmt.Sprint(payloadLimit)
	r := filled(t)
	r.Message += "m"
	_, err := faults(p.conn).Fail(calling(t, 20*time.Second), r)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Equal(t, limit, requireReason(t, err, "PAYLOAD_TOO_LARGE").Metadata["limit_bytes"])
	r.Message = strings.Repeat("m", 33<<20)
	_, err = faults(p.conn).Fail(calling(t, 20*time.Second), r)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))

	var header metadata.MD
	_, err = images(p.conn).Thumbnail(calling(t, 20*time.Second), &demov1.ThumbnailRequest{MaxWidth: 2048, MaxHeight: 2048}, grpc.Header(&header))
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	require.Equal(t, limit, requireReason(t, err, "RESULT_TOO_LARGE").Metadata["limit_bytes"])
	require.Equal(t, []start{{1, 1}}, p.recorder.of(taskOf(t, header)), "it is not tried again")

	messages, err := every(images(p.conn).ContactSheet(calling(t, 20*time.Second), &demov1.ContactSheetRequest{Columns: 1001}))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	requireReason(t, err, "STREAM_TOO_LARGE")
	require.Len(t, messages, 1000)
}

// A task that is given up is answered with its last failure.
func (p *platform) checkLastFailure(t *testing.T) {
	var header metadata.MD
	_, err := faults(p.conn).Fail(calling(t, 20*time.Second, callmeta.KeyMaxAttempts, "2"),
		&demov1.FailRequest{Code: int32(codes.Unavailable), Message: "später", Reason: "AWAY"}, grpc.Header(&header))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "später", status.Convert(err).Message())
	require.Equal(t, "AWAY", infoOf(err).Reason)
	done := p.await(t, taskOf(t, header))
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State)
	require.Equal(t, taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, done.Cause)
	require.EqualValues(t, 2, done.Attempt)
}

func (p *platform) checkCancelledTask(t *testing.T) {
	s, err := images(p.conn).ContactSheet(calling(t, 20*time.Second), &demov1.ContactSheetRequest{Columns: 100, CellSize: 100})
	require.NoError(t, err)
	header, err := s.Header()
	require.NoError(t, err)
	id := taskOf(t, header)
	_, err = p.tasks.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id, Reason: "enough of it"})
	require.NoError(t, err)
	_, err = every(s, nil)
	require.Equal(t, codes.Canceled, status.Code(err), "%v", err)
	require.Equal(t, id, requireReason(t, err, "TASK_CANCELLED").Metadata["task_id"])
	require.Contains(t, err.Error(), "enough of it")
}

// A call is answered when its task has succeeded, whichever attempt it was.
func TestCallIsRetried(t *testing.T) {
	t.Parallel()
	f := forward(t, demoTarget, nil)
	f.awaitReady(t, typeStuck)
	for _, pairs := range [][]string{nil, {callmeta.KeyIdempotencyKey, "k"}} {
		var header metadata.MD
		r, err := faults(f.conn).FailTimes(calling(t, 20*time.Second, append(pairs, callmeta.KeyMaxAttempts, "3")...),
			&demov1.FailTimesRequest{Key: fmt.Sprint(pairs), Times: 2}, grpc.Header(&header))
		require.NoError(t, err)
		require.EqualValues(t, 3, r.Calls)
		require.EqualValues(t, 3, f.await(t, taskOf(t, header)).Attempt)
	}
}

// Once a caller may have a message of a stream, no other attempt follows; before
// that its policy holds.
func TestCallOfAStreamIsCommittedByItsFirstMessage(t *testing.T) {
	t.Parallel()
	f := forward(t, goTarget, nil)
	f.awaitReady(t, typeEcho)
	call := func(pairs ...string) (metadataAnswer, *taskv1.Task) {
		c := metadataCall{method: methodRepeat}
		a := c.do(calling(t, 20*time.Second, append(pairs, callmeta.KeyMaxAttempts, "3", keyMessages, "5", keyFailCode, "14")...), t, f.conn)
		return a, f.await(t, taskOf(t, a.header))
	}
	a, done := call(keyFailAfter, "2")
	require.Len(t, a.messages, 2)
	require.Equal(t, codes.Unavailable, status.Code(a.err))
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State)
	require.EqualValues(t, 1, done.Attempt)

	a, done = call(keyFailAfter, "0", keyFailAttempts, "2")
	require.NoError(t, a.err)
	require.Len(t, a.messages, 5)
	require.EqualValues(t, 3, done.Attempt)
}

// A gateway that stops lets its callers go with what they need to go on, and one
// that is killed has nothing that another does not have.
func TestCallOutlivesItsGateway(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "20")
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeStream)
	for name, end := range map[string]func(){
		"stopped": func() { p.gateway.terminate(t, 4*time.Second) },
		"killed":  func() { p.gateway.kill() },
	} {
		key := []string{callmeta.KeyIdempotencyKey, name}
		var calls sync.WaitGroup
		errs, ids := make([]error, 6), make([]string, 6)
		for i := range errs {
			pairs := []string{callmeta.KeyLabels, fmt.Sprintf("end=%s,call=%d", name, i)}
			if i < 2 {
				pairs = append(pairs, key...)
			}
			calls.Go(func() {
				var header metadata.MD
				if i%2 == 0 {
					_, errs[i] = faults(p.conn).Delay(calling(t, 20*time.Second, pairs...), delay(4*time.Second), grpc.Header(&header))
				} else {
					_, errs[i] = every(images(p.conn).ContactSheet(calling(t, 20*time.Second, pairs...), &demov1.ContactSheetRequest{Columns: 40, CellSize: 100}, grpc.Header(&header)))
				}
				if id := header.Get(callmeta.KeyTaskID); len(id) > 0 {
					ids[i] = id[0]
				}
			})
		}
		filter := "labels.end = " + name
		brokertest.Eventually(t, 10*time.Second, func() bool { return len(p.listed(t, filter)) == len(errs) })
		end()
		calls.Wait()
		p.startGateway(t)
		p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 20*time.Second)
		ofCall := map[string]string{}
		for _, task := range p.listed(t, filter) {
			ofCall[task.Labels["call"]] = task.TaskId
		}
		require.Len(t, ofCall, len(errs))
		for i, err := range errs {
			require.Equal(t, codes.Unavailable, status.Code(err), "%s, call %d: %v", name, i, err)
			id := ofCall[fmt.Sprint(i)]
			if name == "stopped" {
				require.Equal(t, id, requireReason(t, err, "SHUTTING_DOWN").Metadata["task_id"])
			}
			if i > 1 {
				require.Equal(t, id, ids[i], "the header had it")
			}
			require.Equal(t, succeeded, p.await(t, id).State)
			require.Equal(t, []start{{1, 1}}, p.recorder.of(id))
		}
		var header metadata.MD
		_, err := faults(p.conn).Delay(calling(t, 20*time.Second, key...), delay(4*time.Second), grpc.Header(&header))
		require.NoError(t, err)
		require.Equal(t, ofCall["0"], taskOf(t, header))
		messages, err := every(images(p.conn).ContactSheet(calling(t, 20*time.Second, key...), &demov1.ContactSheetRequest{Columns: 40, CellSize: 100}, grpc.Header(&header)))
		require.NoError(t, err)
		require.Len(t, messages, 40)
		require.Equal(t, ofCall["1"], taskOf(t, header))
	}
}

// With the store locked, calls are taken, and answered once it is back.
func TestCallWaitsForTheStore(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "20")
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeStream)
	const locked = 10 * time.Second
	var calls errgroup.Group
	var began time.Time
	p.lockStore(t, t.Context(), locked, func() {
		began = time.Now()
		for i := range 10 {
			calls.Go(func() error {
				if i%2 == 0 {
					_, err := faults(p.conn).Delay(calling(t, 40*time.Second), delay(time.Duration(i)*10*time.Millisecond))
					return err
				}
				messages, err := every(images(p.conn).ContactSheet(calling(t, 40*time.Second), &demov1.ContactSheetRequest{Columns: 5, CellSize: 20}))
				if err == nil && len(messages) != 5 {
					err = fmt.Errorf("%d messages", len(messages))
				}
				return err
			})
		}
		// They are carried out without it.
		brokertest.Eventually(t, 8*time.Second, func() bool { return p.recorder.tasks() == 10 })
	})
	require.NoError(t, calls.Wait())
	took := time.Since(began)
	require.Greater(t, took, locked-time.Second)
	require.Less(t, took, locked+10*time.Second)
}

// A stream whose worker is lost after its first messages can't be gone on with: its
// caller is told, and who calls again gets all of it from one execution.
func TestCallOfAStreamWhoseWorkerIsLost(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	w := p.startWorker(t)
	p.awaitReady(t, typeStream)
	r := &demov1.ContactSheetRequest{Columns: 20, CellSize: 100}
	call := func() grpc.ServerStreamingClient[demov1.ContactSheetResponse] {
		s, err := images(p.conn).ContactSheet(calling(t, 30*time.Second, callmeta.KeyIdempotencyKey, "lost"), r)
		require.NoError(t, err)
		return s
	}
	first := call()
	for range 3 {
		_, err := first.Recv()
		require.NoError(t, err)
	}
	w.kill()
	p.startWorker(t)
	_, err := every(first, nil)
	require.Equal(t, codes.Aborted, status.Code(err), "%v", err)
	id := requireReason(t, err, "STREAM_RESTARTED").Metadata["task_id"]

	// While the second execution is under way, and after it.
	for range 2 {
		again := call()
		messages, err := every(again, nil)
		require.NoError(t, err)
		require.Len(t, messages, 20)
		for i, m := range messages {
			require.EqualValues(t, i+1, m.(*demov1.ContactSheetResponse).Placed)
		}
		header, err := again.Header()
		require.NoError(t, err)
		require.Equal(t, id, taskOf(t, header))
	}
	require.Equal(t, []start{{1, 1}, {1, 1}}, p.recorder.of(id))
}
