package e2e

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// TestTraceOfRetriesAndReplays: attempts are siblings under the submission's
// span; a replay is a trace of its own, linked to that of the run that died.
func TestTraceOfRetriesAndReplays(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, withEnv(
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://"+receiver.address, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=100",
	))
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	id := p.ask(t, typeFail, fail(codes.Unavailable, "x"), func(r *taskv1.SubmitTaskRequest) { r.Retry = quickly(3) }).TaskId
	died := p.await(t, id)
	first, err := hex.DecodeString(died.TraceId)
	require.NoError(t, err)
	publish := receiver.one(t, first, "publish warren.tasks")
	process := "process warren.work." + typeFail
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(receiver.named(first, process)) == 3 })
	for _, attempt := range receiver.named(first, process) {
		require.Equal(t, publish.SpanId, attempt.ParentSpanId)
	}

	p.deadLetter(t, id, open)
	p.replay(t, id)
	d := p.deadLetter(t, id, func(d *deadletterv1.DeadLetter) bool { return open(d) && d.Run == 2 })
	require.Len(t, d.Occurrences, 2)
	require.Equal(t, died.TraceId, d.Occurrences[0].TraceId)
	require.NotEqual(t, died.TraceId, d.Occurrences[1].TraceId)
	second, err := hex.DecodeString(d.Occurrences[1].TraceId)
	require.NoError(t, err)
	again := receiver.one(t, second, "publish warren.tasks")
	require.Equal(t, "warren-deadletter", again.service)
	var linked [][]byte
	for _, l := range again.Links {
		linked = append(linked, l.TraceId)
	}
	require.Contains(t, linked, first, "linked to the trace of the run that died")
	require.NotEmpty(t, p.list(t, `trace_id = "`+d.Occurrences[1].TraceId+`"`))
}
