package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
)

var (
	submitted = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	message   = task.NewCopy()
)

// at is an event of an attempt, some seconds after the submission.
func at(seconds int, phase task.Phase, run, attempt int, delivery int64, edit ...func(*task.Event)) task.Event {
	e := task.Event{
		TaskID: "018f3a6e-0000-7000-8000-000000000001", Type: "acme.v1.Images.Resize", Time: submitted.Add(time.Duration(seconds) * time.Second),
		Key: task.Key{Run: run, Attempt: attempt, Delivery: delivery, Phase: phase, Copy: message},
	}
	for _, f := range edit {
		f(&e)
	}
	return e
}

func headed(e *task.Event)              { e.Head = &task.Head{CreateTime: submitted} }
func fails(e *task.Event)               { e.Failure = &task.Failure{Code: 13} }
func putOff(e *task.Event)              { e.Decision = "the worker drains" }
func byGateway(e *task.Event)           { e.Key.Copy, e.Key.Delivery = task.Copy{}, 0 }
func due(e *task.Event)                 { e.ScheduleTime = submitted.Add(time.Hour) }
func of(c task.Cause) func(*task.Event) { return func(e *task.Event) { e.Cause = c } }

func TestNews(t *testing.T) {
	t.Parallel()
	queued := at(0, task.PhaseQueued, 1, 1, 0, headed)
	started := at(2, task.PhaseStarted, 1, 1, 1)
	for name, c := range map[string]struct {
		events []task.Event
		want   News
	}{
		"queued": {[]task.Event{queued}, News{}},
		"succeeds at once": {
			[]task.Event{queued, started, at(5, task.PhaseSucceeded, 1, 1, 1)},
			News{Succeeded: 1, Ended: true, EndState: task.StateSucceeded, Took: 5 * time.Second, Started: true, Waited: 2 * time.Second, Attempts: Attempts{Succeeded: 1}},
		},
		"end before its start and its submission": {
			[]task.Event{at(5, task.PhaseSucceeded, 1, 1, 1), at(2, task.PhaseStarted, 1, 1, 1, headed), queued},
			News{Succeeded: 1, Started: true, Waited: 2 * time.Second, Attempts: Attempts{Succeeded: 1}},
		},
		"for later": {
			[]task.Event{at(0, task.PhaseScheduled, 1, 1, 0, headed, due), at(3602, task.PhaseStarted, 1, 1, 1), at(3605, task.PhaseSucceeded, 1, 1, 1)},
			News{Succeeded: 1, Ended: true, EndState: task.StateSucceeded, Took: 5 * time.Second, Started: true, Waited: 2 * time.Second, Attempts: Attempts{Succeeded: 1}},
		},
		"fails twice and dies": {
			[]task.Event{
				queued, started, at(3, task.PhaseRetrying, 1, 1, 1, fails), at(4, task.PhaseStarted, 1, 2, 2),
				at(5, task.PhaseDeadLettered, 1, 2, 2, fails, of(task.CauseAttemptsExhausted)),
			},
			News{
				DeadLettered: 1, Ended: true, EndState: task.StateDeadLettered, Took: 5 * time.Second, Started: true, Waited: 2 * time.Second,
				Attempts: Attempts{Failed: 2}, Retries: 1,
			},
		},
		"replayed": {
			[]task.Event{
				queued, at(1, task.PhaseDeadLettered, 1, 1, 0, byGateway, of(task.CauseQueueOverflow)),
				at(7200, task.PhaseQueued, 2, 1, 0, headed), at(7201, task.PhaseStarted, 2, 1, 1), at(7202, task.PhaseSucceeded, 2, 1, 1),
			},
			News{DeadLettered: 1, Succeeded: 1, Ended: true, EndState: task.StateDeadLettered, Took: time.Second, Attempts: Attempts{Succeeded: 1}},
		},
		"corrected": {
			[]task.Event{queued, started, at(5, task.PhaseDeadLettered, 1, 1, 1, fails, of(task.CausePermanentFailure)), at(6, task.PhaseSucceeded, 1, 1, 1)},
			News{
				DeadLettered: 1, Ended: true, EndState: task.StateDeadLettered, Took: 5 * time.Second, Started: true, Waited: 2 * time.Second,
				Attempts: Attempts{Failed: 1, Succeeded: 1},
			},
		},
		"cancelled in the queue": {
			[]task.Event{queued, at(3, task.PhaseCancelled, 1, 1, 1)},
			News{Cancelled: 1, Ended: true, EndState: task.StateCancelled, Took: 3 * time.Second},
		},
		"cancelled in its attempt": {
			[]task.Event{queued, started, at(3, task.PhaseCancelled, 1, 1, 1)},
			News{Cancelled: 1, Ended: true, EndState: task.StateCancelled, Took: 3 * time.Second, Started: true, Waited: 2 * time.Second, Attempts: Attempts{Cancelled: 1}},
		},
		"snoozed, released, never begun": {
			[]task.Event{
				queued, started, at(3, task.PhaseRetrying, 1, 1, 1), at(4, task.PhaseStarted, 1, 1, 2), at(5, task.PhaseReleased, 1, 1, 2),
				at(6, task.PhaseStarted, 1, 1, 3), at(7, task.PhaseReleased, 1, 1, 3, putOff),
			},
			News{Started: true, Waited: 2 * time.Second, Attempts: Attempts{Released: 2}, Retries: 1},
		},
		"its worker says that it lost the connection": {
			[]task.Event{queued, started, at(3, task.PhaseLost, 1, 1, 1), at(4, task.PhaseStarted, 1, 1, 2), at(5, task.PhaseSucceeded, 1, 1, 2)},
			News{
				Succeeded: 1, Ended: true, EndState: task.StateSucceeded, Took: 5 * time.Second, Started: true, Waited: 2 * time.Second,
				Attempts: Attempts{Lost: 1, Succeeded: 1},
			},
		},
		"its worker is killed": {
			[]task.Event{queued, started, at(4, task.PhaseStarted, 1, 1, 2), at(5, task.PhaseSucceeded, 1, 1, 2)},
			News{
				Succeeded: 1, Ended: true, EndState: task.StateSucceeded, Took: 5 * time.Second, Started: true, Waited: 2 * time.Second,
				Attempts: Attempts{Lost: 1, Succeeded: 1},
			},
		},
		"its worker is killed, and says so after the next has begun": {
			[]task.Event{queued, started, at(4, task.PhaseStarted, 1, 1, 2), at(3, task.PhaseLost, 1, 1, 1)},
			News{Started: true, Waited: 2 * time.Second, Attempts: Attempts{Lost: 1}},
		},
		"kills its workers until it dies": {
			[]task.Event{queued, started, at(4, task.PhaseReleased, 1, 1, 2, putOff), at(5, task.PhaseStarted, 1, 1, 3), at(6, task.PhaseDeadLettered, 1, 1, 4, of(task.CauseDeliveryLimit))},
			News{
				DeadLettered: 1, Ended: true, EndState: task.StateDeadLettered, Took: 6 * time.Second, Started: true, Waited: 2 * time.Second,
				Attempts: Attempts{Lost: 2},
			},
		},
		"a clock that is behind": {
			[]task.Event{queued, at(-3, task.PhaseStarted, 1, 1, 1), at(-1, task.PhaseSucceeded, 1, 1, 1)},
			News{Succeeded: 1, Ended: true, EndState: task.StateSucceeded, Started: true, Attempts: Attempts{Succeeded: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var news News
			var is task.Task
			for i := range c.events {
				was := is
				is.Apply(&c.events[i])
				news.Add(&was, &is, &c.events[i])
			}
			require.Equal(t, c.want, news)
		})
	}
}

func TestCountingNewsAllocatesNothing(t *testing.T) {
	var was, is, ended task.Task
	queued, started, succeeded := at(0, task.PhaseQueued, 1, 1, 0, headed), at(2, task.PhaseStarted, 1, 1, 1), at(3, task.PhaseSucceeded, 1, 1, 1)
	was.Apply(&queued)
	is = was
	is.Apply(&started)
	ended = is
	ended.Apply(&succeeded)
	var news News
	require.Zero(t, testing.AllocsPerRun(100, func() {
		news.Add(&was, &is, &started)
		news.Add(&is, &ended, &succeeded)
	}))
	require.Equal(t, 101, news.Succeeded)
}
