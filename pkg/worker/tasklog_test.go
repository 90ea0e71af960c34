package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

// journal keeps a log in JSON.
type journal struct{ logtest.Buffer }

// lines are those so far, each without its time.
func (j *journal) lines(t testing.TB) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(j.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), "%s", line)
		delete(fields, "time")
		all = append(all, fields)
	}
	return all
}

// about are the lines about a task.
func (j *journal) about(t testing.TB, id string) (all []map[string]any) {
	t.Helper()
	for _, line := range j.lines(t) {
		if line["task_id"] == id {
			all = append(all, line)
		}
	}
	return all
}

// journalled is a [workplace] whose worker logs at Info.
func journalled(t testing.TB, handler func(context.Context) error, edit ...func(*taskv1.TaskOptions)) (place, *journal) {
	t.Helper()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, edit...)
	log := &journal{}
	w, err := New(Config{AMQPURLs: []string{b.URL}, Logger: telemetry.NewLogger(log, slog.LevelInfo, true)})
	require.NoError(t, err)
	demov1.RegisterFaultServiceServer(w, &faults{delay: handler})
	return place{gateway: g, broker: b, stop: serve(t, w)}, log
}

const (
	testTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	testSpan  = "00f067aa0ba902b7"
)

// traceHeaders has a message carry a trace.
func traceHeaders(m *broker.TaskMessage) {
	m.Trace = map[string]string{"traceparent": "00-" + testTrace + "-" + testSpan + "-00"}
}

func TestEachFailureIsOneLogLine(t *testing.T) {
	t.Parallel()
	p, log := journalled(t, func(context.Context) error {
		return status.Error(codes.Unavailable, strings.Repeat("no ", 1000))
	}, func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 2 })
	id := p.Submit(t, typeDelay, traceHeaders)
	dead := p.Await(t, id, task.PhaseDeadLettered)
	retry := p.Of(id, task.PhaseRetrying)[0]
	p.AwaitReady(t, p.Names.Dead(), 1)
	p.stop()
	message := strings.Repeat("no ", 1000)[:maxLogged] + "…"
	require.Equal(t, []map[string]any{
		{
			"level": "WARN", "msg": "an attempt has failed",
			"task_id": id, "task_type": typeDelay, "run": 1., "attempt": 1., "trace_id": testTrace, "span_id": testSpan,
			"code": "UNAVAILABLE", "message": message,
			"next_attempt": 2., "next_attempt_time": retry.NextAttemptTime.Format(time.RFC3339Nano),
		},
		{
			"level": "ERROR", "msg": "a task has died",
			"task_id": id, "task_type": typeDelay, "run": 1., "attempt": 2., "trace_id": testTrace, "span_id": testSpan,
			"code": "UNAVAILABLE", "message": message,
			"cause": "ATTEMPTS_EXHAUSTED", "decision": dead.Decision,
		},
	}, log.about(t, id))
}

func TestSuccessAndSnoozeAreNoLogLines(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	p, log := journalled(t, func(context.Context) error {
		if starts.Add(1)%10 == 2 {
			return task.Snooze(10 * time.Millisecond)
		}
		return nil
	})
	begun := p.Submit(t, typeDelay)
	p.Await(t, begun, task.PhaseSucceeded)
	before := log.lines(t)
	require.NotEmpty(t, before, "the journal has what the worker says of itself")
	var ids []string
	for range 100 {
		ids = append(ids, p.Submit(t, typeDelay))
	}
	for _, id := range ids {
		p.Await(t, id, task.PhaseSucceeded)
	}
	require.Equal(t, before, log.lines(t))
	p.stop()
	for _, id := range ids {
		require.Empty(t, log.about(t, id))
	}
}
