package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// Size of the batches that are submitted under faults.
const (
	batchClients = 4
	batchItems   = 30
	batchKills   = 3
	// batchPause is the time between two batches of a client.
	batchPause = 60 * time.Millisecond
)

// TestBatchSubmissionsSurviveKills: whatever becomes of the gateway and of its
// connection to the broker, what a batch was answered holds for each of its items.
func TestBatchSubmissionsSurviveKills(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	p := newPlatform(t, proxy.URL())
	p.startWorkerOn(t, b.URL, "--concurrency", "16")
	p.awaitReady(t, typeDelay)

	l := &batchLoad{p: p, calling: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for n := range batchClients {
		l.wg.Go(func() { l.client(t, ctx, n) })
	}
	begin := time.Now()
	r := rand.New(rand.NewPCG(uint64(*baseSeed), 200))
	for i := range batchKills {
		l.killGateway(t, r)
		if i == 0 {
			l.cutBroker(t, r, proxy)
		}
	}
	require.NoError(t, wait(ctx, time.Second))
	stop()
	l.wg.Wait()
	t.Logf("submitted in %.1f s", time.Since(begin).Seconds())
	l.examine(t)
}

// batchLoad is clients that submit batches all the time.
type batchLoad struct {
	p  *platform
	wg sync.WaitGroup
	// calling is received from by who waits for a call that is about to begin.
	calling chan struct{}

	mu sync.Mutex
	// items are those of all batches so far; failed counts calls.
	items    []*batchItem
	failed   int
	problems []string
}

// batchItem is one task that is asked for, and what it was answered in the end.
type batchItem struct {
	request *taskv1.SubmitTaskRequest
	// reason is why it must be refused, empty if it must be accepted.
	reason string
	code   codes.Code
	// own: it has an id of the client's; unknown: it was answered
	// SUBMISSION_UNKNOWN, and repeated under that id; failed: a call with it
	// failed, and it was submitted again; known: it was accepted already when it
	// was repeated.
	own, unknown, failed, known bool
	accepted                    *taskv1.Task
	refused                     bool
}

// moment waits until a call is about to begin, and then a few milliseconds.
func (l *batchLoad) moment(t testing.TB, r *rand.Rand) {
	require.NoError(t, wait(t.Context(), time.Second))
	select {
	case <-l.calling:
	case <-time.After(20 * time.Second):
		require.Fail(t, "nobody submits")
	}
	require.NoError(t, wait(t.Context(), time.Duration(r.Int64N(int64(8*time.Millisecond)))))
}

func (l *batchLoad) killGateway(t testing.TB, r *rand.Rand) {
	l.moment(t, r)
	l.p.gateway.kill()
	require.NoError(t, wait(t.Context(), time.Duration(r.Int64N(int64(500*time.Millisecond)))))
	l.p.startGateway(t)
}

// cutBroker lets the gateway's connection hang, so that some messages have arrived
// without their confirm, and then cuts it.
func (l *batchLoad) cutBroker(t testing.TB, r *rand.Rand, proxy *brokertest.Proxy) {
	l.p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 20*time.Second)
	l.moment(t, r)
	proxy.Stall()
	require.NoError(t, wait(t.Context(), 200*time.Millisecond))
	proxy.Cut()
	require.NoError(t, wait(t.Context(), time.Duration(r.Int64N(int64(time.Second)))))
	proxy.Restore()
}

// client submits one batch after another until the context ends, each until every
// item has its answer.
func (l *batchLoad) client(t testing.TB, ctx context.Context, n int) {
	for round := 0; ctx.Err() == nil; round++ {
		pending := l.newBatch(t, fmt.Sprintf("%d-%d", n, round))
		for tries := 0; len(pending) > 0; tries++ {
			if tries == 200 {
				l.problem("no answer to %v", pending[0].request)
				return
			}
			pending = l.call(t.Context(), pending)
		}
		_ = wait(ctx, batchPause)
	}
}

// newBatch is a batch of good items, half of them with ids of their own, and of
// bad ones.
func (l *batchLoad) newBatch(t testing.TB, name string) []*batchItem {
	var items []*batchItem
	for i := range batchItems {
		r := &taskv1.SubmitTaskRequest{
			Type: typeDelay, Payload: payload(t, delay(time.Millisecond)), Labels: map[string]string{"item": fmt.Sprintf("%s-%d", name, i)},
		}
		item := &batchItem{request: r}
		switch {
		case i%10 == 3:
			r.Type, item.reason, item.code = "acme.v1.Nobody.Does", "TASK_TYPE_NOT_FOUND", codes.NotFound
		case i%10 == 6:
			r.Payload = payload(t, &demov1.FailRequest{})
			item.reason, item.code = "PAYLOAD_TYPE_MISMATCH", codes.InvalidArgument
		case i == 8:
			r.Labels["a b"] = ""
			item.reason, item.code = "INVALID_REQUEST", codes.InvalidArgument
		case i == 18:
			r.Payload = &anypb.Any{TypeUrl: r.Payload.TypeUrl, Value: []byte{0x0a, 0x05, 0x01}}
			item.reason, item.code = "PAYLOAD_UNDECODABLE", codes.InvalidArgument
		case i%2 == 0:
			r.TaskId, item.own = task.NewID(), true
		}
		items = append(items, item)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, items...)
	return items
}

// call submits items and gives those that have to be submitted again. When the
// whole call fails nothing is known of any of them: those without an id of their
// own may then be submitted as other tasks too.
func (l *batchLoad) call(ctx context.Context, items []*batchItem) (again []*batchItem) {
	r := &taskv1.BatchSubmitTasksRequest{}
	for _, item := range items {
		r.Requests = append(r.Requests, item.request)
	}
	select {
	case l.calling <- struct{}{}:
	default:
	}
	call, cancel := context.WithTimeout(ctx, 15*time.Second)
	answer, err := l.p.tasks.BatchSubmitTasks(call, r)
	cancel()
	if err != nil {
		if status.Code(err) != codes.Unavailable {
			l.problem("a batch was answered %v", err)
		}
		l.mu.Lock()
		l.failed++
		l.mu.Unlock()
		for _, item := range items {
			item.failed = true
		}
		_ = wait(ctx, 50*time.Millisecond)
		return items
	}
	if len(answer.Results) != len(items) {
		l.problem("%d results for %d items", len(answer.Results), len(items))
		return nil
	}
	for i, item := range items {
		if !item.answered(l, answer.Results[i]) {
			again = append(again, item)
		}
	}
	if len(again) > 0 {
		_ = wait(ctx, 50*time.Millisecond)
	}
	return again
}

// answered takes an answer, and says whether it is the last one.
func (i *batchItem) answered(l *batchLoad, r *taskv1.BatchSubmitTasksResult) bool {
	if accepted := r.GetResponse().GetTask(); accepted != nil {
		wrong := i.reason != "" || i.request.TaskId != "" && i.request.TaskId != accepted.TaskId
		i.known = r.GetResponse().AlreadySubmitted
		if i.accepted = accepted; wrong || i.known && !i.failed && !i.unknown {
			l.problem("%v was answered %v", i.request, accepted)
		}
		return true
	}
	err := status.FromProto(r.GetError()).Err()
	switch reason := reasonOf(err); {
	case reason == "NOT_SUBMITTED" && status.Code(err) == codes.Unavailable:
		return false
	case reason == "SUBMISSION_UNKNOWN" && status.Code(err) == codes.Unavailable && i.reason == "":
		id := infoOf(err).Metadata["task_id"]
		if id == "" || i.request.TaskId != "" && i.request.TaskId != id {
			l.problem("%v is unknown by the id %q", i.request, id)
			return true
		}
		i.unknown, i.request.TaskId = true, id
		return false
	case reason == i.reason && status.Code(err) == i.code:
		i.refused = true
		return true
	}
	l.problem("%v was answered %v", i.request, err)
	return true
}

func (l *batchLoad) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// examine looks at what became of every item.
func (l *batchLoad) examine(t testing.TB) {
	require.Empty(t, l.problems)
	l.p.awaitHealth(t, "warren.store", true, 20*time.Second)
	// What calls left behind that failed is carried out too, and nothing stays in
	// another state.
	brokertest.Eventually(t, 60*time.Second, func() error {
		others := idsOf(l.p.listAll(t, `-state = SUCCEEDED OR attempt > 1`, func() {}), nil)
		if listed, started := len(l.p.listAll(t, "", func() {})), l.p.recorder.tasks(); len(others) > 0 || listed != started {
			return fmt.Errorf("%d tasks are listed, %d were started, %d have not succeeded at once: %v", listed, started, len(others), others[:min(3, len(others))])
		}
		return nil
	})
	listed := map[string]*taskv1.Task{}
	for _, task := range l.p.listAll(t, "", func() {}) {
		listed[task.TaskId] = task
	}
	counts, ids := map[string]int{}, map[string]bool{}
	for _, item := range l.items {
		if item.reason != "" {
			require.True(t, item.refused, "%v", item.request)
			counts["refused"]++
			continue
		}
		require.NotNil(t, item.accepted, "%v", item.request)
		id := item.accepted.TaskId
		require.Equal(t, item.request.Labels, listed[id].GetLabels(), "the answer to %v was %s", item.request, id)
		require.False(t, ids[id], "two items are the task %s", id)
		ids[id] = true
		l.examineStarts(t, item, counts)
	}
	t.Logf("%d items: %v; %d calls failed; %d tasks", len(l.items), counts, l.failed, len(listed))
	require.Positive(t, counts["repeated after a failed call"])
	require.Positive(t, counts["repeated as unknown"])
	require.Less(t, 10*counts["started twice"], counts["repeated as unknown"]+counts["repeated after a failed call"], "that is the exception")
}

// examineStarts demands that an item's task was started once, or that its last
// execution is marked: of one that was repeated, when its first submission had
// started without asking, or no gateway answered for long.
func (l *batchLoad) examineStarts(t testing.TB, item *batchItem, counts map[string]int) {
	counts["accepted"]++
	again := item.own && item.failed
	for what, is := range map[string]bool{
		"repeated as unknown": item.unknown, "repeated after a failed call": again, "known already": item.known,
	} {
		if is {
			counts[what]++
		}
	}
	starts := l.p.recorder.of(item.accepted.TaskId)
	if len(starts) > 1 && (item.unknown || again) {
		attempts := l.p.attempts(t, item.accepted.TaskId)
		counts["started twice"]++
		require.True(t, attempts[len(attempts)-1].Extra, "%v", attempts)
		return
	}
	require.Equal(t, []start{{1, 1}}, starts, "%v, submitted again %v, unknown %v", item.accepted, again, item.unknown)
}

// TestGrpcurlListsWatchesAndBatches: batches, lists and watches of many tasks by
// reflection alone, with errors that a person can read.
func TestGrpcurlListsWatchesAndBatches(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)

	// The first message of a watch is the place where it begins.
	var watched []watchedJSON
	p.grpcurlUntil(t, `{"filter": "labels.customer = c1"}`, "WatchTasks", func(m watchedJSON) bool {
		watched = append(watched, m)
		return true
	})
	require.Empty(t, watched[0].Event)
	require.NotEmpty(t, watched[0].ResumeToken)

	var batch struct {
		Results []struct {
			Response struct {
				Task struct{ TaskID, State string }
			}
			Error struct {
				Code    int
				Message string
				Details []map[string]any
			}
		}
	}
	const fine = `"payload": {"@type": "type.googleapis.com/demo.v1.DelayRequest", "delay": "0s"}`
	decode(t, p.grpcurl(t, "-d", `{"requests": [
		{"type": "demo.v1.FaultService.Delay", "labels": {"customer": "c1"}, `+fine+`},
		{"type": "acme.v1.Nobody.Does", `+fine+`},
		{"type": "demo.v1.FaultService.Delay", "priority": 10, `+fine+`},
		{"type": "demo.v1.FaultService.Delay", "labels": {"customer": "c2"}, `+fine+`}
	]}`, p.address, "warren.task.v1.TaskService/BatchSubmitTasks"), &batch)
	require.Len(t, batch.Results, 4)
	for i, want := range map[int]struct {
		code            codes.Code
		reason, message string
	}{1: {codes.NotFound, "TASK_TYPE_NOT_FOUND", "acme.v1.Nobody.Does"}, 2: {codes.InvalidArgument, "INVALID_REQUEST", "must be from 1 to 9"}} {
		got := batch.Results[i].Error
		require.EqualValues(t, want.code, got.Code)
		require.Contains(t, got.Message, want.message)
		info := got.Details[0]
		require.Equal(t, "type.googleapis.com/google.rpc.ErrorInfo", info["@type"])
		require.Equal(t, "warren", info["domain"])
		require.Equal(t, want.reason, info["reason"])
		require.Equal(t, "type.googleapis.com/google.rpc.BadRequest", got.Details[1]["@type"])
		require.NotEmpty(t, got.Details[1]["fieldViolations"])
	}
	ids := []string{batch.Results[0].Response.Task.TaskID, batch.Results[3].Response.Task.TaskID}
	require.Equal(t, "TASK_STATE_QUEUED", batch.Results[0].Response.Task.State)
	for _, id := range ids {
		p.await(t, id)
	}

	var list struct {
		Tasks []struct {
			TaskID, State string
			Labels        map[string]string
		}
		NextPageToken string
	}
	decode(t, p.grpcurl(t, "-d", `{"filter": "state = SUCCEEDED AND labels.customer:*", "page_size": 1}`, p.address, "warren.task.v1.TaskService/ListTasks"), &list)
	require.Len(t, list.Tasks, 1)
	require.Equal(t, ids[1], list.Tasks[0].TaskID, "the newest first")
	require.Equal(t, map[string]string{"customer": "c2"}, list.Tasks[0].Labels)
	require.NotEmpty(t, list.NextPageToken)

	resumed := `{"filter": "labels.customer = c1", "view": "TASK_VIEW_FULL", "resume_token": "` + watched[0].ResumeToken + `"}`
	p.grpcurlUntil(t, resumed, "WatchTasks", func(m watchedJSON) bool {
		watched = append(watched, m)
		return len(watched) == 5
	})
	require.Empty(t, watched[1].Event)
	for i, m := range watched[2:] {
		require.Equal(t, ids[0], m.Task.TaskID)
		require.Equal(t, fmt.Sprint(i+1), m.Event["number"])
	}
	require.Equal(t, "TASK_STATE_SUCCEEDED", watched[4].Event["state"])
}

// watchedJSON is what grpcurl shows of a message of WatchTasks.
type watchedJSON struct {
	Task struct {
		TaskID string
	}
	Event       map[string]any
	ResumeToken string
}

// grpcurlUntil runs grpcurl on a stream without an end, until a message is the last
// one that is wanted.
func (p *platform) grpcurlUntil(t testing.TB, request, method string, last func(watchedJSON) bool) {
	t.Helper()
	modfile, err := filepath.Abs("../../.tools/grpcurl.mod")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile="+modfile, "grpcurl", "-plaintext", "-d", request, p.address, "warren.task.v1.TaskService/"+method)
	// The tool is a child of `go tool`.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	messages := json.NewDecoder(out)
	for done := false; !done; {
		var m watchedJSON
		if err = messages.Decode(&m); err != nil {
			break
		}
		done = last(m)
	}
	cancel()
	_ = cmd.Wait()
	require.NoError(t, err, complaints.String())
}
