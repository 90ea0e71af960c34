package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// kinds are twelve ways to fail, each with something in its message that differs from
// task to task.
var kinds = []func(i int) *demov1.FailRequest{
	func(i int) *demov1.FailRequest {
		return fail(codes.NotFound, fmt.Sprintf("customer %d does not exist", i))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.NotFound, fmt.Sprintf("invoice %d does not exist", i))
	},
	func(int) *demov1.FailRequest {
		return fail(codes.NotFound, fmt.Sprintf("object %s is gone", task.NewID()))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.InvalidArgument, fmt.Sprintf("line %d: unexpected %q", i, fmt.Sprint("token ", i)))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.InvalidArgument, fmt.Sprintf("checksum 0x%08x is wrong", i*7919))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.FailedPrecondition, fmt.Sprintf("the account was closed at %s", time.Unix(int64(i)*977, 0).UTC().Format(time.RFC3339)))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.FailedPrecondition, fmt.Sprintf("the account is overdrawn by %d.%02d", i, i%100))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.PermissionDenied, fmt.Sprintf("user 'u%d' may not do this", i))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.Unavailable, fmt.Sprintf("dial tcp 10.0.%d.%d:5432: connection refused", i/250%250, i%250))
	},
	func(i int) *demov1.FailRequest {
		return fail(codes.Unavailable, fmt.Sprintf("timeout after %dms", i))
	},
	func(i int) *demov1.FailRequest { return fail(codes.Internal, fmt.Sprintf("timeout after %dms", i)) },
	func(i int) *demov1.FailRequest { return fail(codes.AlreadyExists, fmt.Sprintf("order-%d exists", i)) },
}

// Dead letters of 12 kinds of failure, 1,200 of each, are 12 groups. A replay whose
// canary fails stops with it. Once the handler is mended a replay of all keeps its rate
// for a minute, is paused, resumed and killed five times, and each task succeeds, started
// exactly once more.
//
// It runs before the tests that run side by side, since it measures a rate.
func TestReplayAtScale(t *testing.T) { //nolint:paralleltest // it measures a rate
	const each, rate = 1200, 200
	n := each * len(kinds)
	p, _ := onVHost(t)
	broken := p.startWorker(t, "--concurrency", "64")
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	ids := p.submitMany(t, n, func(i int) *taskv1.SubmitTaskRequest {
		k := i % len(kinds)
		return &taskv1.SubmitTaskRequest{
			Type: typeFail, Payload: payload(t, kinds[k](i)), Retry: quickly(1), Labels: map[string]string{"kind": fmt.Sprint(k)},
		}
	})
	p.awaitOpen(t, n)
	p.requireGroups(t, each)

	p.failCanary(t, n)
	broken.terminate(t, 20*time.Second)
	p.env = append(p.env, mendedEnv+"=1")
	p.startWorker(t, "--concurrency", "64")
	p.awaitOpen(t, n)
	before := map[string]int{}
	for _, id := range ids {
		before[id] = len(p.recorder.of(id))
	}

	preview, err := p.dead.PreviewReplay(t.Context(), &deadletterv1.PreviewReplayRequest{Selector: byFilter(`state = "OPEN"`)})
	require.NoError(t, err)
	require.EqualValues(t, n, preview.Selection.Count)
	r := p.createReplay(t, &deadletterv1.CreateReplayRequest{
		Selector: &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Token{Token: preview.Selection.Token}},
		Plan:     &deadletterv1.ReplayPlan{MaxPerSecond: rate}, Reason: "mended", RequestId: "at-scale",
	})
	require.Equal(t, preview.Selection.Digest, r.Digest)
	p.requireRate(t, r.ReplayId, rate, time.Minute)
	p.pauseFor(t, r.ReplayId)
	p.killUnder(t, r.ReplayId, 5)

	done := p.awaitIn(t, r.ReplayId, hasEnded)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_COMPLETED, done.State, "%v", done)
	require.EqualValues(t, n, done.Counts.Succeeded, "%v", done.Counts)
	for _, id := range ids {
		require.Len(t, p.recorder.of(id), before[id]+1, "task %s", id)
	}
	p.awaitOpen(t, 0)
}

func byFilter(filter string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: filter}}
}

// awaitOpen waits until so many dead letters are OPEN.
func (p *platform) awaitOpen(t testing.TB, n int) {
	t.Helper()
	brokertest.Eventually(t, 2*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := p.dead.AggregateDeadLetters(ctx, &deadletterv1.AggregateDeadLettersRequest{Filter: `state = "OPEN"`})
		if err == nil && r.Total != int64(n) {
			err = fmt.Errorf("%d are OPEN, not %d", r.Total, n)
		}
		return err
	})
}

// requireGroups demands a group for each kind, with all of its dead letters and no other.
func (p *platform) requireGroups(t testing.TB, each int64) {
	t.Helper()
	r, err := p.dead.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{PageSize: 500})
	require.NoError(t, err)
	require.Len(t, r.Groups, len(kinds), "%v", r.Groups)
	for _, g := range r.Groups {
		require.Equal(t, each, g.OpenCount, "%v", g)
		require.Equal(t, each, g.Count, "%v", g)
	}
	counts, err := p.dead.AggregateDeadLetters(t.Context(), &deadletterv1.AggregateDeadLettersRequest{GroupBy: []string{"group_id", "labels.kind"}})
	require.NoError(t, err)
	require.Len(t, counts.Aggregates, len(kinds), "a kind is in one group, and a group has one kind")
	for _, a := range counts.Aggregates {
		require.Equal(t, each, a.Count, "%v", a)
	}
}

// failCanary replays everything while the handler is broken still.
func (p *platform) failCanary(t testing.TB, n int) {
	t.Helper()
	const canary = 20
	r := p.createReplay(t, &deadletterv1.CreateReplayRequest{
		Selector: byFilter(`state = "OPEN"`), Plan: &deadletterv1.ReplayPlan{Canary: canary, MaxPerSecond: 1000}, Reason: "is it mended?",
	})
	ended := p.awaitIn(t, r.ReplayId, hasEnded)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_ABORTED, ended.State, "%v", ended)
	c := ended.Counts
	require.EqualValues(t, n, c.Total)
	require.LessOrEqual(t, c.FailedAgain, int64(canary))
	require.Positive(t, c.FailedAgain)
	require.Equal(t, c.Total, c.Pending+c.FailedAgain, "%v", c)
}

// requireRate waits for so long, and demands that the rate was kept.
func (p *platform) requireRate(t testing.TB, id string, rate float64, d time.Duration) {
	t.Helper()
	require.NoError(t, wait(t.Context(), d+2*time.Second))
	r, err := p.replayNow(t, id)
	require.NoError(t, err)
	from := r.StartTime.AsTime()
	begun := 0
	for token := ""; ; {
		page, err := p.dead.ListReplayItems(t.Context(), &deadletterv1.ListReplayItemsRequest{ReplayId: id, PageSize: 1000, PageToken: token})
		require.NoError(t, err)
		for _, item := range page.Items {
			if item.BeginTime != nil && item.BeginTime.AsTime().Before(from.Add(d)) {
				begun++
			}
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	t.Logf("%d items were begun in %s: %.1f/s", begun, d, float64(begun)/d.Seconds())
	require.InEpsilon(t, rate, float64(begun)/d.Seconds(), 0.05)
}

// pauseFor pauses a replay, sees that nothing more is begun, changes its rate, and
// resumes it.
func (p *platform) pauseFor(t testing.TB, id string) {
	t.Helper()
	_, err := p.dead.PauseReplay(t.Context(), &deadletterv1.PauseReplayRequest{ReplayId: id, Reason: "lunch"})
	require.NoError(t, err)
	require.NoError(t, wait(t.Context(), time.Second))
	paused, err := p.replayNow(t, id)
	require.NoError(t, err)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_PAUSED, paused.State)
	require.NoError(t, wait(t.Context(), 2*time.Second))
	later, err := p.replayNow(t, id)
	require.NoError(t, err)
	require.Equal(t, paused.Counts.Pending, later.Counts.Pending)
	require.Positive(t, later.Counts.Pending, "nothing is left to be killed under")
	_, err = p.dead.UpdateReplay(t.Context(), &deadletterv1.UpdateReplayRequest{
		ReplayId: id, Plan: &deadletterv1.ReplayPlan{MaxPerSecond: 300}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_per_second"}}, Reason: "no more lunch",
	})
	require.NoError(t, err)
	_, err = p.dead.ResumeReplay(t.Context(), &deadletterv1.ResumeReplayRequest{ReplayId: id, Reason: "lunch is over"})
	require.NoError(t, err)
}

// killUnder kills the service so often while a replay has something to begin.
func (p *platform) killUnder(t testing.TB, id string, times int) {
	t.Helper()
	for range times {
		require.NoError(t, wait(t.Context(), time.Duration(200+rand.IntN(500))*time.Millisecond))
		p.deadletter.kill()
		p.startDeadletter(t)
		brokertest.Eventually(t, 30*time.Second, func() error {
			_, err := p.replayNow(t, id)
			return err
		})
	}
}
