package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var startRules = map[string]func(*testing.T, store.Store){
	"Start/of a task that nobody holds":          startsUnheld,
	"Start/of a task that is not known":          startsUnknown,
	"Start/asked again changes nothing":          startsAgain,
	"Start/drops another message":                dropsAnother,
	"Start/drops what was started unasked twice": dropsBesideUnasked,
	"Start/drops a run that has ended":           dropsEnded,
	"Start/drops a run before the latest":        dropsEarlierRun,
	"Start/drops a run that was purged":          dropsPurged,
	"Start/repeats an outcome":                   repeatsOutcome,
	"Start/gives up what may start once":         givesUp,
	"Start/counts crashes":                       countsCrashes,
	"Start/decides in the order of a batch":      decidesInOrder,
	"Start/decides about hundreds":               decidesHundreds,
	"Start/gives up an id that is no UUID":       givesUpBadID,
	"Start/takes an id in any spelling":          startsAnySpelling,
	"Start/of copies at once permits one":        startsOneOfMany,
	"Start/of nothing does nothing": func(t *testing.T, s store.Store) {
		require.Empty(t, start(t, s))
	},
	"Start/changes nothing once its context is done": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		id := task.NewID()
		_, err := s.Start(ctx, []task.StartRequest{ask(id, 1)})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, store.ErrUnavailable)
		require.Equal(t, task.VerdictStart, verdict(t, s, ask(id, 2)))
	},
}

// ask makes the request of a message's first delivery in run 1.
func ask(id string, c byte) task.StartRequest {
	return task.StartRequest{
		RequestID: string('a'+rune(c)) + "1", TaskID: id, Type: taskType, Run: 1, Attempt: 1, Copy: task.Copy{c}, Delivery: 1, Resend: c > 1,
	}
}

// redelivered makes a request that of a later delivery, all before having
// failed.
func redelivered(r task.StartRequest, delivery int64) task.StartRequest {
	r.RequestID = r.RequestID[:1] + string('0'+rune(delivery))
	r.Delivery, r.Failed = delivery, delivery-1
	return r
}

func start(t test, s store.Store, requests ...task.StartRequest) []task.StartAnswer {
	t.Helper()
	answers, err := s.Start(t.Context(), requests)
	require.NoError(t, err)
	require.Len(t, answers, len(requests))
	return answers
}

// verdict asks for one start.
func verdict(t test, s store.Store, r task.StartRequest) task.StartVerdict {
	t.Helper()
	return start(t, s, r)[0].Verdict
}

func startsUnheld(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart}}, start(t, s, ask(id, 1)))
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart, Crashes: 1}}, start(t, s, redelivered(ask(id, 1), 2)))
}

func startsUnknown(t *testing.T, s store.Store) {
	id := task.NewID()
	require.Equal(t, task.VerdictStart, verdict(t, s, ask(id, 1)))
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 2)))
	requireGone(t, s, id)
	// The claim stays when the task becomes known.
	apply(t, s, queued(id))
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 2)))
	require.Equal(t, task.VerdictStart, verdict(t, s, redelivered(ask(id, 1), 2)))
}

func startsAgain(t *testing.T, s store.Store) {
	id := task.NewID()
	once := ask(id, 1)
	once.AtMostOnce = true
	for range 3 {
		require.Equal(t, task.VerdictStart, verdict(t, s, once))
	}
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart}, {Verdict: task.VerdictStart}}, start(t, s, once, once))
}

func dropsAnother(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	require.Equal(t, task.VerdictStart, verdict(t, s, ask(id, 2)))
	for range 2 {
		require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 1)))
		require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 3)))
	}
	// Another run has a holder of its own.
	next := ask(id, 1)
	next.Run = 2
	require.Equal(t, task.VerdictStart, verdict(t, s, next))
	require.Equal(t, task.VerdictStart, verdict(t, s, redelivered(ask(id, 2), 2)))
}

func dropsBesideUnasked(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), started(id))
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 2)))
	require.Equal(t, task.VerdictStart, verdict(t, s, redelivered(ask(id, 1), 2)))
}

func dropsEnded(t *testing.T, s store.Store) {
	for _, phase := range []task.Phase{task.PhaseSucceeded, task.PhaseCancelled, task.PhaseDeadLettered} {
		id := task.NewID()
		apply(t, s, queued(id), started(id), delivered(id, phase))
		require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 2)))
	}
}

func dropsEarlierRun(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), delivered(id, task.PhaseDeadLettered), inRun(2, queued(id)))
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 1)))
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 2)))
}

func dropsPurged(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), succeeded(id))
	purgeAll(t, s)
	second := ask(id, 2)
	second.Run = 2
	requireDropped := func() {
		for c := range byte(3) {
			require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, c)))
		}
	}
	requireDropped()
	require.Equal(t, task.VerdictStart, verdict(t, s, second))
	apply(t, s, inRun(2, queued(id)))
	requireDropped()
	require.Equal(t, task.VerdictStart, verdict(t, s, redelivered(second, 2)))
}

func repeatsOutcome(t *testing.T, s store.Store) {
	for _, phase := range []task.Phase{task.PhaseRetrying, task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded} {
		id := task.NewID()
		outcome := delivered(id, phase)
		apply(t, s, queued(id), started(id), numbered(id, task.PhaseMessage, 1), outcome)
		outcome.Message = nil
		again := redelivered(ask(id, 1), 2)
		require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictRepeat, Outcome: &outcome}}, start(t, s, again))
		require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 2)))
		if phase == task.PhaseRetrying {
			again.SettledDelivery, again.Failed, again.Attempt = 1, 0, 2
			require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart}}, start(t, s, again))
		}
	}
}

func givesUp(t *testing.T, s store.Store) {
	id := task.NewID()
	once := ask(id, 1)
	once.AtMostOnce = true
	require.Equal(t, task.VerdictStart, verdict(t, s, once))
	again := redelivered(once, 2)
	for range 2 {
		require.Equal(t, task.VerdictGiveUp, verdict(t, s, again))
	}
	// A worker that never started it gave it back.
	again.PutOffFrom, again.PutOffTo = 1, 1
	require.Equal(t, task.VerdictStart, verdict(t, s, again))
	require.Equal(t, task.VerdictGiveUp, verdict(t, s, redelivered(once, 3)))
}

func countsCrashes(t *testing.T, s store.Store) {
	id := task.NewID()
	at := func(delivery int64, phase task.Phase) task.Event {
		return event(id, task.Key{Run: 1, Attempt: 1, Delivery: delivery, Phase: phase})
	}
	apply(t, s, queued(id), at(1, task.PhaseStarted), at(2, task.PhaseStarted), at(2, task.PhaseLost))
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart, Crashes: 1}}, start(t, s, redelivered(ask(id, 1), 3)))
	alone := at(3, task.PhaseStarted)
	require.True(t, alone.Execution.Alone)
	apply(t, s, alone)
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart, Crashes: 2, Crashed: &alone}}, start(t, s, redelivered(ask(id, 1), 4)))
	apply(t, s, at(3, task.PhaseLost))
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictStart, Crashes: 1}}, start(t, s, redelivered(ask(id, 1), 4)))
}

func decidesInOrder(t *testing.T, s store.Store) {
	a, b := task.NewID(), task.NewID()
	apply(t, s, queued(a), started(a), delivered(a, task.PhaseRetrying))
	once := ask(b, 1)
	once.AtMostOnce = true
	var verdicts []task.StartVerdict
	for _, answer := range start(t, s, ask(b, 2), once, redelivered(ask(a, 1), 2), ask(b, 2), ask(a, 3)) {
		verdicts = append(verdicts, answer.Verdict)
	}
	require.Equal(t, []task.StartVerdict{
		task.VerdictStart, task.VerdictDrop, task.VerdictRepeat, task.VerdictStart, task.VerdictDrop,
	}, verdicts)
	// What was recorded is what followed from all of them.
	require.Equal(t, task.VerdictDrop, verdict(t, s, once))
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(a, 4)))
}

func decidesHundreds(t *testing.T, s store.Store) {
	const tasks = 500
	var events []task.Event
	var first, second []task.StartRequest
	for range tasks {
		id := task.NewID()
		events = append(events, queued(id))
		first, second = append(first, ask(id, 1)), append(second, ask(id, 2))
	}
	apply(t, s, events...)
	for _, round := range []struct {
		requests []task.StartRequest
		want     task.StartVerdict
	}{{first, task.VerdictStart}, {second, task.VerdictDrop}, {first, task.VerdictStart}} {
		for _, answer := range start(t, s, round.requests...) {
			require.Equal(t, task.StartAnswer{Verdict: round.want}, answer)
		}
	}
}

func givesUpBadID(t *testing.T, s store.Store) {
	id := task.NewID()
	answers := start(t, s, ask("x", 1), ask(id, 1), ask("", 1))
	require.Equal(t, []task.StartAnswer{{Verdict: task.VerdictGiveUp}, {Verdict: task.VerdictStart}, {Verdict: task.VerdictGiveUp}}, answers)
}

func startsAnySpelling(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), delivered(id, task.PhaseDeadLettered))
	answers := start(t, s, ask(strings.ToUpper(id), 1), ask("urn:uuid:"+id, 2))
	require.Equal(t, id, answers[0].Outcome.TaskID)
	require.Equal(t, task.VerdictDrop, answers[1].Verdict)
}

// startsOneOfMany has the messages of one run ask at the same time, several
// times each.
func startsOneOfMany(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	const copies = 8
	var permitted [copies]int
	g, ctx := errgroup.WithContext(t.Context())
	for c := range copies {
		g.Go(func() error {
			for range 3 {
				answers, err := s.Start(ctx, []task.StartRequest{ask(task.NewID(), 1), ask(id, byte(c+1))})
				if err != nil {
					return err
				}
				if answers[1].Verdict == task.VerdictStart {
					permitted[c]++
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	starts := 0
	for _, n := range permitted {
		require.Contains(t, []int{0, 3}, n)
		starts += n
	}
	require.Equal(t, 3, starts)
}
