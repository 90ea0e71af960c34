package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

const full = deadletterv1.DeadLetterView_DEAD_LETTER_VIEW_FULL

// startDeadletter starts the dead-letter service, again with the store that it
// had.
func (p *platform) startDeadletter(t testing.TB, flags ...string) {
	t.Helper()
	if p.dead == nil {
		p.deadAddress, p.deadStore = porttest.Address(t), filepath.Join(t.TempDir(), "deadletter.db")
		conn, err := grpc.NewClient(p.deadAddress, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		p.dead = deadletterv1.NewDeadLetterServiceClient(conn)
	}
	p.deadletter = startProcess(t, "deadletter", p.env, deadletterBinary, append([]string{
		"--amqp-url", p.amqpURL, "--listen", p.deadAddress, "--store-url", "sqlite:" + p.deadStore,
		"--gateway", p.address, "--grace", "5s", "--metrics-listen", "",
	}, flags...)...)
}

// quickly allows so many attempts, shortly after one another.
func quickly(attempts int32) *taskv1.RetryPolicy {
	return &taskv1.RetryPolicy{MaxAttempts: attempts, Backoff: &taskv1.Backoff{
		Kind: &taskv1.Backoff_Fixed{Fixed: durationpb.New(20 * time.Millisecond)}, Jitter: taskv1.Jitter_JITTER_NONE,
	}}
}

// ask submits what the request says, which must be accepted.
func (p *platform) ask(t testing.TB, taskType string, m proto.Message, edit func(*taskv1.SubmitTaskRequest)) *taskv1.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := &taskv1.SubmitTaskRequest{Type: taskType, Payload: payload(t, m)}
	edit(r)
	answer, err := p.tasks.SubmitTask(ctx, r)
	require.NoError(t, err)
	return answer.Task
}

func fail(code codes.Code, message string) *demov1.FailRequest {
	return &demov1.FailRequest{Code: int32(code), Message: message}
}

// deadLetter waits for a dead letter that is as wanted.
func (p *platform) deadLetter(t testing.TB, id string, wanted func(*deadletterv1.DeadLetter) bool) *deadletterv1.DeadLetter {
	t.Helper()
	var d *deadletterv1.DeadLetter
	brokertest.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		r, err := p.dead.GetDeadLetter(ctx, &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full})
		if err != nil {
			return err
		}
		if d = r.DeadLetter; !wanted(d) {
			return fmt.Errorf("the dead letter is %v", d)
		}
		return nil
	})
	return d
}

func open(d *deadletterv1.DeadLetter) bool {
	return d.State == deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN
}

func resolved(d *deadletterv1.DeadLetter) bool {
	return d.State == deadletterv1.DeadLetterState_DEAD_LETTER_STATE_RESOLVED
}

// list lists all dead letters that match a filter, page by page.
func (p *platform) list(t testing.TB, filter string) []*deadletterv1.DeadLetter {
	t.Helper()
	var all []*deadletterv1.DeadLetter
	for token := ""; ; {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		r, err := p.dead.ListDeadLetters(ctx, &deadletterv1.ListDeadLettersRequest{Filter: filter, PageSize: 200, PageToken: token})
		cancel()
		require.NoError(t, err)
		all = append(all, r.DeadLetters...)
		if token = r.NextPageToken; token == "" {
			return all
		}
	}
}

// awaitDead waits until so many dead letters match a filter.
func (p *platform) awaitDead(t testing.TB, filter string, n int, within time.Duration) []*deadletterv1.DeadLetter {
	t.Helper()
	var all []*deadletterv1.DeadLetter
	brokertest.Eventually(t, within, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.dead.ListDeadLetters(ctx, &deadletterv1.ListDeadLettersRequest{PageSize: 1}); err != nil {
			return err
		}
		if all = p.list(t, filter); len(all) != n {
			return fmt.Errorf("%d dead letters match %q, not %d", len(all), filter, n)
		}
		return nil
	})
	return all
}

// replay replays a dead letter, again while nothing was begun.
func (p *platform) replay(t testing.TB, id string) int32 {
	t.Helper()
	var run int32
	brokertest.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := p.dead.ReplayDeadLetter(ctx, &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "mended"})
		if status.Code(err) == codes.Unavailable {
			return err
		}
		require.NoError(t, err)
		run = r.Run
		return nil
	})
	return run
}

func TestReplayOneDeadLetter(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	broken := p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	id := p.ask(t, typeFail, fail(codes.FailedPrecondition, "the disk is full"), func(r *taskv1.SubmitTaskRequest) {
		r.Labels = map[string]string{"customer": "c1"}
	}).TaskId
	first := p.await(t, id)
	d := p.deadLetter(t, id, open)
	require.Equal(t, id, d.TaskId)
	require.Equal(t, first.TraceId, d.TraceId)
	require.Equal(t, map[string]string{"customer": "c1"}, d.Labels)
	require.NotEmpty(t, p.list(t, `cause = "PERMANENT_FAILURE" AND labels.customer = "c1" AND message:"DISK"`))
	require.Empty(t, p.list(t, `code = "UNAVAILABLE"`))

	// Replayed too early it dies again: one dead letter, two occurrences.
	require.EqualValues(t, 2, p.replay(t, id))
	d = p.deadLetter(t, id, func(d *deadletterv1.DeadLetter) bool { return open(d) && d.Run == 2 })
	require.EqualValues(t, 2, d.OccurrenceCount)
	require.Len(t, d.Occurrences, 2)

	broken.terminate(t, 10*time.Second)
	p.env = append(p.env, mendedEnv+"=1")
	p.startWorker(t)
	require.EqualValues(t, 3, p.replay(t, id))
	d = p.deadLetter(t, id, resolved)
	require.EqualValues(t, 2, d.OccurrenceCount)
	done := p.await(t, id)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
	require.EqualValues(t, 3, done.Run)
	require.Equal(t, []start{{1, 1}, {2, 1}, {3, 1}}, p.recorder.of(id))
	require.Equal(t, first.CreateTime.AsTime(), done.CreateTime.AsTime())
	require.True(t, proto.Equal(first.Payload, done.Payload))

	_, err := p.dead.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "again"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	requireReason(t, err, "DEAD_LETTER_NOT_OPEN")
}

func TestReplayDiscardAndWatch(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	p.awaitDead(t, "", 0, 20*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	watch, err := p.dead.WatchDeadLetters(ctx, &deadletterv1.WatchDeadLettersRequest{Filter: `code = "NOT_FOUND"`})
	require.NoError(t, err)
	first, err := watch.Recv()
	require.NoError(t, err)
	require.Nil(t, first.DeadLetter)

	p.submit(t, typeFail, fail(codes.InvalidArgument, "not watched"))
	id := p.submit(t, typeFail, fail(codes.NotFound, "gone")).TaskId
	came, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, id, came.DeadLetter.DeadLetterId)
	require.Empty(t, came.DeadLetter.Payload, "BASIC shows no payload")

	d := p.deadLetter(t, id, open)
	_, err = p.dead.DiscardDeadLetter(ctx, &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: id, Reason: "not needed", Etag: "other"})
	require.Equal(t, codes.Aborted, status.Code(err))
	requireReason(t, err, "ETAG_MISMATCH")
	discarded, err := p.dead.DiscardDeadLetter(ctx, &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: id, Reason: "not needed", Etag: d.Etag})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_DISCARDED, discarded.DeadLetter.State)
	came, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_DISCARDED, came.DeadLetter.State)

	// A watch that is resumed shows what came after its token.
	p.deadletter.terminate(t, 10*time.Second)
	for err == nil {
		_, err = watch.Recv()
	}
	require.False(t, errors.Is(err, io.EOF), "a watch does not end by itself")
	p.startDeadletter(t)
	again := p.submit(t, typeFail, fail(codes.NotFound, "gone too")).TaskId
	p.deadLetter(t, again, open)
	watch, err = p.dead.WatchDeadLetters(ctx, &deadletterv1.WatchDeadLettersRequest{Filter: `code = "NOT_FOUND"`, ResumeToken: came.ResumeToken})
	require.NoError(t, err)
	came, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, again, came.DeadLetter.GetDeadLetterId())
}
