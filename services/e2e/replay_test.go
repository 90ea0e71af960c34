package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// graveyard is a platform with so many dead letters, and a worker whose handler fails
// still.
func graveyard(t testing.TB, n int) (p *platform, broken *process, ids []string) {
	t.Helper()
	p, _ = onVHost(t)
	broken = p.startWorker(t, "--concurrency", "64", "--log-level", "info")
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	request := payload(t, fail(codes.Unavailable, "the disk is full"))
	ids = p.submitMany(t, n, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeFail, Payload: request, Retry: quickly(1)}
	})
	p.awaitDead(t, `state = "OPEN"`, n, 60*time.Second)
	return p, broken, ids
}

// mend replaces the worker by one whose handler succeeds.
func (p *platform) mend(t testing.TB, broken *process) {
	t.Helper()
	broken.terminate(t, 20*time.Second)
	p.env = append(p.env, mendedEnv+"=1")
	p.startWorker(t, "--concurrency", "64", "--log-level", "info")
}

func openOnes() *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: `state = "OPEN"`}}
}

// beginReplay replays everything that is OPEN.
func (p *platform) beginReplay(t testing.TB, plan *deadletterv1.ReplayPlan) string {
	t.Helper()
	return p.createReplay(t, &deadletterv1.CreateReplayRequest{Selector: openOnes(), Plan: plan, Reason: "mended"}).ReplayId
}

func (p *platform) createReplay(t testing.TB, request *deadletterv1.CreateReplayRequest) *deadletterv1.Replay {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := p.dead.CreateReplay(ctx, request)
	require.NoError(t, err)
	return r.Replay
}

// replayNow is a replay as it is now, whose counters must add up.
func (p *platform) replayNow(t testing.TB, id string) (*deadletterv1.Replay, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := p.dead.GetReplay(ctx, &deadletterv1.GetReplayRequest{ReplayId: id})
	if err != nil {
		return nil, err
	}
	c := r.Replay.Counts
	require.Equal(t, c.Total, c.Pending+c.InFlight+c.Succeeded+c.FailedAgain+c.Cancelled+c.Skipped+c.Unknown, "%v", c)
	return r.Replay, nil
}

// awaitIn waits until a replay is as wanted.
func (p *platform) awaitIn(t testing.TB, id string, wanted func(*deadletterv1.Replay) bool) (r *deadletterv1.Replay) {
	t.Helper()
	brokertest.Eventually(t, 60*time.Second, func() (err error) {
		if r, err = p.replayNow(t, id); err == nil && !wanted(r) {
			err = fmt.Errorf("the replay is %v", r)
		}
		return err
	})
	return r
}

func hasEnded(r *deadletterv1.Replay) bool { return r.EndTime != nil }

func TestReplayStopsAfterAFailedCanary(t *testing.T) {
	t.Parallel()
	const n, canary = 60, 5
	p, broken, ids := graveyard(t, n)
	id := p.beginReplay(t, &deadletterv1.ReplayPlan{Canary: canary})
	r := p.awaitIn(t, id, hasEnded)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_ABORTED, r.State, "%v", r)
	require.Contains(t, r.StateReason, "canary")
	require.Positive(t, r.Counts.FailedAgain)
	require.LessOrEqual(t, r.Counts.FailedAgain, int64(canary))
	require.Equal(t, int64(n), r.Counts.Pending+r.Counts.FailedAgain, "%v", r.Counts)
	require.LessOrEqual(t, p.recorder.all(), n+canary)

	p.mend(t, broken)
	id = p.beginReplay(t, &deadletterv1.ReplayPlan{Canary: canary})
	r = p.awaitIn(t, id, hasEnded)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_COMPLETED, r.State, "%v", r)
	require.EqualValues(t, n, r.Counts.Succeeded)
	for _, task := range ids {
		starts := p.recorder.of(task)
		require.LessOrEqual(t, len(starts), 3, "%v", starts)
	}
}

func TestReplayIsPausedResumedAndCancelled(t *testing.T) {
	t.Parallel()
	const n = 400
	p, broken, ids := graveyard(t, n)
	p.mend(t, broken)
	id := p.beginReplay(t, &deadletterv1.ReplayPlan{MaxPerSecond: 40})
	watch, err := p.dead.WatchReplay(t.Context(), &deadletterv1.WatchReplayRequest{ReplayId: id})
	require.NoError(t, err)
	p.awaitIn(t, id, func(r *deadletterv1.Replay) bool { return r.Counts.Succeeded > 0 })
	_, err = p.dead.PauseReplay(t.Context(), &deadletterv1.PauseReplayRequest{ReplayId: id, Reason: "lunch"})
	require.NoError(t, err)
	require.NoError(t, wait(t.Context(), time.Second))
	started := p.recorder.tasks()
	paused := p.awaitIn(t, id, func(r *deadletterv1.Replay) bool { return r.Counts.InFlight == 0 })
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_PAUSED, paused.State)
	require.NoError(t, wait(t.Context(), time.Second))
	later, err := p.replayNow(t, id)
	require.NoError(t, err)
	require.Equal(t, paused.Counts.Pending, later.Counts.Pending)
	require.Equal(t, started, p.recorder.tasks())

	_, err = p.dead.UpdateReplay(t.Context(), &deadletterv1.UpdateReplayRequest{
		ReplayId: id, Plan: &deadletterv1.ReplayPlan{MaxPerSecond: 80}, Etag: later.Etag, Reason: "hurry",
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_per_second"}},
	})
	require.NoError(t, err)
	resumed, err := p.dead.ResumeReplay(t.Context(), &deadletterv1.ResumeReplayRequest{ReplayId: id, Reason: "back"})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_RUNNING, resumed.Replay.State)
	p.awaitIn(t, id, func(r *deadletterv1.Replay) bool { return r.Counts.Succeeded > later.Counts.Succeeded })
	_, err = p.dead.CancelReplay(t.Context(), &deadletterv1.CancelReplayRequest{ReplayId: id, Reason: "enough"})
	require.NoError(t, err)
	ended := p.awaitIn(t, id, hasEnded)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_CANCELLED, ended.State)
	require.Positive(t, ended.Counts.Pending, "nothing was left to cancel")
	require.Equal(t, int64(n), ended.Counts.Pending+ended.Counts.Succeeded)
	p.awaitDead(t, `state = "OPEN"`, int(ended.Counts.Pending), 20*time.Second)
	again := 0
	for _, task := range ids {
		again += len(p.recorder.of(task)) - 1
	}
	require.EqualValues(t, ended.Counts.Succeeded, again)

	var last *deadletterv1.Replay
	for {
		m, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		last = m.Replay
	}
	require.NotNil(t, last.EndTime, "the last one is always shown")
}

// The service is killed again and again while it replays: each task is started exactly
// once more.
func TestReplaySurvivesKills(t *testing.T) {
	t.Parallel()
	const n = 500
	p, broken, ids := graveyard(t, n)
	p.mend(t, broken)
	random := rand.New(rand.NewPCG(uint64(*baseSeed), 8))
	id := p.beginReplay(t, &deadletterv1.ReplayPlan{MaxPerSecond: 250, Canary: 3})
	kills := 0
	for range 8 {
		require.NoError(t, wait(t.Context(), time.Duration(50+random.IntN(400))*time.Millisecond))
		p.deadletter.kill()
		p.startDeadletter(t)
		kills++
		var r *deadletterv1.Replay
		brokertest.Eventually(t, 30*time.Second, func() (err error) {
			r, err = p.replayNow(t, id)
			return err
		})
		if r.EndTime != nil {
			break
		}
	}
	r := p.awaitIn(t, id, hasEnded)
	t.Logf("%d kills: %v", kills, r.Counts)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_COMPLETED, r.State)
	require.EqualValues(t, n, r.Counts.Succeeded, "%v", r)
	for _, task := range ids {
		require.Len(t, p.recorder.of(task), 2, "task %s", task)
	}
	p.awaitDead(t, `state = "RESOLVED"`, n, 20*time.Second)
}

// BenchmarkReplay is how long it takes to replay b.N dead letters of small tasks, until
// all have succeeded and the replay says so.
//
//	go test ./services/e2e -run '^$' -bench 'BenchmarkReplay$' -benchtime 1000x -count 3
func BenchmarkReplay(b *testing.B) {
	p, broken, _ := graveyard(b, b.N)
	p.mend(b, broken)
	// A first one has connections made and the worker ready.
	p.await(b, p.submit(b, typeFail, fail(codes.Unavailable, "away")).TaskId)
	started := p.recorder.all()
	b.ResetTimer()
	begin := time.Now()
	id := p.beginReplay(b, nil)
	watch, err := p.dead.WatchReplay(b.Context(), &deadletterv1.WatchReplayRequest{ReplayId: id})
	require.NoError(b, err)
	go func() {
		p.awaitStarts(b, started+b.N)
		b.Logf("the last one was started after %s", time.Since(begin))
	}()
	for {
		m, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(b, err)
		c := m.Replay.Counts
		b.Logf("%s: pending %d, in flight %d, succeeded %d", time.Since(begin), c.Pending, c.InFlight, c.Succeeded)
		if m.Replay.EndTime != nil {
			require.EqualValues(b, b.N, c.Succeeded)
			b.ReportMetric(m.Replay.EndTime.AsTime().Sub(begin).Seconds(), "s-until-all-done")
		}
	}
}
