package task

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const (
	testID   = "0190b5a5-5a5a-7a5a-8a5a-5a5a5a5a5a5a"
	testType = "demo.v1.ImageService.Thumbnail"
)

var testEpoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestJoinOfAnyOrderIsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		want, wantHistory := join(events)
		shuffled := slices.Concat(events, drawSome(t, events))
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		got, gotHistory := join(shuffled)
		require.Equal(t, keyOf(wantHistory, want.ResultNumber), keyOf(gotHistory, got.ResultNumber))
		require.Equal(t, want.PayloadNumber == 0, got.PayloadNumber == 0)
		require.Equal(t, withoutNumbers(want), withoutNumbers(got))
		require.Equal(t, Records(wantHistory), Records(gotHistory))
	})
}

func TestNumbersHaveNoGaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		joined, history := join(drawEvents(t))
		for i, e := range history {
			require.EqualValues(t, i+1, e.Number)
		}
		require.EqualValues(t, len(history), joined.Version)
		if joined.PayloadNumber > 0 {
			p := history[joined.PayloadNumber-1].Payload
			require.Equal(t, joined.PayloadSHA256, p.SHA256)
			require.Equal(t, joined.PayloadSize, p.Size)
		}
		if joined.ResultNumber > 0 {
			require.Equal(t, joined.Decided, history[joined.ResultNumber-1].Key)
		}
	})
}

func TestOutranksIsATotalOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Custom(drawKey)
		a, b, c := key.Draw(t, "a"), key.Draw(t, "b"), key.Draw(t, "c")
		require.False(t, a.outranks(a))
		require.Equal(t, a != b, a.outranks(b) != b.outranks(a))
		if a.outranks(b) && b.outranks(c) {
			require.True(t, a.outranks(c))
		}
	})
}

// A state is replaced only by an event that outranks the one that decided it;
// a terminal one within its run only by a higher one, marked as a correction.
func TestStateNeverGoesBackwards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var joined Task
		for _, e := range distinct(drawEvents(t)) {
			was := joined
			applied := joined.Apply(&e)
			require.Equal(t, joined.State, applied.State)
			require.NotZero(t, joined.State)
			require.GreaterOrEqual(t, joined.Run, was.Run)
			if joined.Run == was.Run {
				require.GreaterOrEqual(t, joined.Attempt, was.Attempt)
			}
			if joined.Decided == was.Decided {
				require.False(t, applied.Correction)
				// As long as nothing decides it, the state is a guess.
				require.True(t, was.State == joined.State || was.Decided == Key{})
				continue
			}
			require.Equal(t, e.Key, joined.Decided)
			require.True(t, was.Decided == Key{} || joined.Decided.outranks(was.Decided))
			if was.State.Terminal() && joined.Decided.Run == was.Decided.Run {
				require.True(t, joined.State.Terminal())
				require.Equal(t, joined.State != was.State, applied.Correction)
				require.GreaterOrEqual(t, joined.Decided.Phase.rank(), was.Decided.Phase.rank())
			} else {
				require.False(t, applied.Correction)
			}
		}
	})
}

func TestJoin(t *testing.T) {
	t.Parallel()
	queued := event(Key{Run: 1, Attempt: 1, Phase: PhaseQueued})
	started := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseStarted})
	again := event(Key{Run: 1, Attempt: 1, Delivery: 2, Phase: PhaseStarted})
	released := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseReleased})
	dead := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseDeadLettered})
	cancelled := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseCancelled})
	succeeded := event(Key{Run: 1, Attempt: 1, Delivery: 2, Phase: PhaseSucceeded})
	third := event(Key{Run: 1, Attempt: 1, Delivery: 3, Phase: PhaseSucceeded})
	retrying := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseRetrying})
	next := event(Key{Run: 1, Attempt: 2, Delivery: 2, Phase: PhaseStarted})
	progress := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseProgress, Sequence: 1})
	replayed := event(Key{Run: 2, Attempt: 1, Phase: PhaseQueued})
	scheduled := event(Key{Run: 1, Attempt: 1, Phase: PhaseScheduled})
	repeated := event(Key{Run: 1, Attempt: 1, Phase: PhaseScheduled, Copy: Copy{2}})
	updated := event(Key{Run: 1, Attempt: 1, Phase: PhaseUpdated, Sequence: 1})
	updatedAgain := event(Key{Run: 1, Attempt: 1, Phase: PhaseUpdated, Sequence: 2})
	cancelledLater := event(Key{Run: 1, Attempt: 1, Phase: PhaseCancelled})

	for name, c := range map[string]struct {
		events []Event
		// corrections are the numbers of the events that are.
		corrections []int64
		want        func(*testing.T, Task)
	}{
		"started before queued": {
			events: []Event{started, queued},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRunning, got.State)
				require.Equal(t, started.Time, got.StartTime)
				require.EqualValues(t, 2, got.PayloadNumber)
				require.Equal(t, queued.Head.CreateTime, got.CreateTime)
				require.Equal(t, queued.Head.ExpireTime, got.ExpireTime)
			},
		},
		"progress before anything else": {
			events: []Event{progress},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRunning, got.State)
				require.Zero(t, got.Version)
				require.Equal(t, progress.Progress, got.Progress)
			},
		},
		"queued after progress": {
			events: []Event{progress, queued},
			want:   func(t *testing.T, got Task) { require.Equal(t, StateQueued, got.State) },
		},
		"success after a dead letter": {
			events: []Event{queued, started, dead, again, succeeded}, corrections: []int64{5},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateSucceeded, got.State)
				require.Nil(t, got.Failure)
				require.Zero(t, got.Cause)
				require.Equal(t, succeeded.Time, got.EndTime)
				require.EqualValues(t, 5, got.ResultNumber)
			},
		},
		"dead letter after a success": {
			events: []Event{queued, succeeded, dead},
			want:   func(t *testing.T, got Task) { require.Equal(t, StateSucceeded, got.State) },
		},
		"each terminal state outranks the one below": {
			events: []Event{dead, cancelled, succeeded}, corrections: []int64{2, 3},
			want: func(t *testing.T, got Task) { require.Equal(t, StateSucceeded, got.State) },
		},
		"a second success keeps the first result": {
			events: []Event{queued, succeeded, third},
			want: func(t *testing.T, got Task) {
				require.EqualValues(t, 2, got.ResultNumber)
				require.EqualValues(t, 3, got.Version)
			},
		},
		"late start of a task that ended": {
			events: []Event{queued, succeeded, started},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateSucceeded, got.State)
				require.Equal(t, started.Time, got.StartTime)
			},
		},
		"released, then started again": {
			events: []Event{queued, started, released, again},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRunning, got.State)
				require.Equal(t, 1, got.Attempt)
				require.Equal(t, again.Time, got.StartTime)
			},
		},
		"released after it started again": {
			events: []Event{queued, started, again, released},
			want:   func(t *testing.T, got Task) { require.Equal(t, StateRunning, got.State) },
		},
		"a higher run starts over": {
			events: []Event{queued, started, progress, dead, replayed},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateQueued, got.State)
				require.Equal(t, 2, got.Run)
				require.Zero(t, got.Attempt)
				require.Zero(t, got.StartTime)
				require.Zero(t, got.EndTime)
				require.Nil(t, got.Failure)
				require.Nil(t, got.Progress)
				require.EqualValues(t, 4, got.PayloadNumber)
			},
		},
		"retrying": {
			events: []Event{queued, started, retrying},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRetrying, got.State)
				require.Equal(t, 1, got.Attempt)
				require.Equal(t, retrying.Failure, got.Failure)
				require.Zero(t, got.Cause)
				require.Equal(t, retrying.NextAttemptTime, got.NextAttemptTime)
				require.Zero(t, got.EndTime)
			},
		},
		"retrying, then started again": {
			events: []Event{queued, started, retrying, next},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRunning, got.State)
				require.Equal(t, 2, got.Attempt)
				require.Equal(t, next.Time, got.StartTime)
				require.Nil(t, got.Failure)
				require.Zero(t, got.NextAttemptTime)
			},
		},
		"retrying after it started again": {
			events: []Event{queued, started, next, retrying},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRunning, got.State)
				require.Nil(t, got.Failure)
				require.Zero(t, got.NextAttemptTime)
			},
		},
		"success after retrying": {
			events: []Event{queued, started, retrying, succeeded},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateSucceeded, got.State)
				require.Nil(t, got.Failure)
				require.Zero(t, got.NextAttemptTime)
			},
		},
		"retrying after a dead letter": {
			events: []Event{dead, retrying},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateDeadLettered, got.State)
				require.Equal(t, dead.Failure, got.Failure)
				require.Zero(t, got.NextAttemptTime)
			},
		},
		"a retry of an earlier run is history": {
			events: []Event{replayed, retrying},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateQueued, got.State)
				require.Zero(t, got.NextAttemptTime)
			},
		},
		"scheduled": {
			events: []Event{scheduled},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateScheduled, got.State)
				require.Equal(t, scheduled.ScheduleTime, got.ScheduleTime)
				require.Equal(t, scheduled.Head.ScheduleID, got.ScheduleID)
				require.EqualValues(t, 1, got.PayloadNumber)
				require.Zero(t, got.EndTime)
			},
		},
		"queued when its time has come": {
			events: []Event{scheduled, queued},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateQueued, got.State)
				require.Equal(t, scheduled.ScheduleTime, got.ScheduleTime)
				require.EqualValues(t, 1, got.PayloadNumber)
			},
		},
		"scheduled after it was queued": {
			events: []Event{queued, scheduled},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateQueued, got.State)
				require.Equal(t, scheduled.ScheduleTime, got.ScheduleTime)
			},
		},
		"scheduled twice, the earlier time counts": {
			events: []Event{repeated, scheduled, repeated},
			want: func(t *testing.T, got Task) {
				require.Equal(t, scheduled.ScheduleTime, got.ScheduleTime)
				require.Equal(t, scheduled.Head.CreateTime, got.CreateTime)
			},
		},
		"an update changes what was submitted, and no state": {
			events: []Event{scheduled, updated},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateScheduled, got.State)
				require.Equal(t, scheduled.Key, got.Decided)
				require.Equal(t, scheduled.Time, got.UpdateTime)
				require.Equal(t, updated.ScheduleTime, got.ScheduleTime)
				require.Equal(t, updated.Head.Labels, got.Labels)
				require.Equal(t, updated.Head.Priority, got.Priority)
				require.Equal(t, updated.Head.ExpireTime, got.ExpireTime)
				require.EqualValues(t, 1, got.UpdateSequence)
				require.EqualValues(t, 2, got.Version)
			},
		},
		"the last of several updates counts, whatever comes after it": {
			events: []Event{updatedAgain, updated, scheduled, queued, started},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateRunning, got.State)
				require.EqualValues(t, 2, got.UpdateSequence)
				require.Equal(t, updatedAgain.Head.Labels, got.Labels)
				require.Zero(t, got.ScheduleTime)
			},
		},
		"an update before anything else": {
			events: []Event{updated},
			want:   func(t *testing.T, got Task) { require.Equal(t, StateQueued, got.State) },
		},
		"an update of a task that has ended": {
			events: []Event{queued, succeeded, updated},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateSucceeded, got.State)
				require.Equal(t, succeeded.Time, got.EndTime)
				require.Equal(t, updated.Head.Labels, got.Labels)
			},
		},
		"cancelled before its time": {
			events: []Event{scheduled, cancelledLater},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateCancelled, got.State)
				require.Equal(t, cancelledLater.Reason, got.CancelReason)
				require.Equal(t, cancelledLater.Time, got.EndTime)
			},
		},
		"queued after it was cancelled": {
			events: []Event{scheduled, cancelledLater, queued},
			want:   func(t *testing.T, got Task) { require.Equal(t, StateCancelled, got.State) },
		},
		"success after a cancellation forgets why": {
			events: []Event{queued, cancelled, succeeded}, corrections: []int64{3},
			want: func(t *testing.T, got Task) {
				require.Equal(t, StateSucceeded, got.State)
				require.Empty(t, got.CancelReason)
			},
		},
		"an end of an earlier run is history": {
			events: []Event{replayed, dead, succeeded},
			want:   func(t *testing.T, got Task) { require.Equal(t, StateQueued, got.State) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, history := join(c.events)
			var corrections []int64
			for _, e := range history {
				if e.Correction {
					corrections = append(corrections, e.Number)
				}
			}
			require.Equal(t, c.corrections, corrections)
			c.want(t, got)
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Event){
		"id":                      func(e *Event) { e.TaskID = "no-uuid" },
		"type":                    func(e *Event) { e.Type = "" },
		"phase":                   func(e *Event) { e.Key.Phase = 4 },
		"run":                     func(e *Event) { e.Key.Run = 0 },
		"run, beyond 32 bits":     func(e *Event) { e.Key.Run = 1 << 31 },
		"attempt":                 func(e *Event) { e.Key.Attempt = 0 },
		"attempt, beyond 32 bits": func(e *Event) { e.Key.Attempt = 1 << 31 },
		"delivery":                func(e *Event) { e.Key.Delivery = -1 },
		"sequence":                func(e *Event) { e.Key.Sequence = -1 },
		"no progress":             func(e *Event) { e.Key.Phase, e.Payload = PhaseProgress, nil },
		"payload":                 func(e *Event) { e.Key.Phase = PhaseSucceeded },
		"scheduled without time":  func(e *Event) { e.Key.Phase = PhaseScheduled },
		"scheduled without head":  func(e *Event) { e.Key.Phase, e.ScheduleTime, e.Head = PhaseScheduled, e.Time, nil },
		"update without sequence": func(e *Event) { e.Key.Phase, e.Payload = PhaseUpdated, nil },
		"update without head": func(e *Event) {
			e.Key.Phase, e.Key.Sequence, e.Head, e.Payload = PhaseUpdated, 1, nil, nil
		},
		"update with payload": func(e *Event) { e.Key.Phase, e.Key.Sequence = PhaseUpdated, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := event(Key{Run: 1, Attempt: 1, Phase: PhaseQueued})
			require.NoError(t, e.Validate())
			spoil(&e)
			require.Error(t, e.Validate())
		})
	}
}

// event makes the event that has a key; all but the key follows from it.
func event(k Key) Event {
	offset := time.Duration(k.Run*1000+k.Attempt*100+int(k.Delivery)*20+int(k.Phase)) * time.Second
	e := Event{TaskID: testID, Type: testType, Key: k, Time: testEpoch.Add(offset), WorkerID: "w"}
	switch k.Phase {
	case PhaseQueued, PhaseScheduled:
		// Another copy may be of a submission that was repeated.
		hash := sha256.Sum256([]byte{byte(k.Run), k.Copy[0] % 2})
		e.Head = head(k.Copy[0])
		e.Payload = &Payload{Bytes: hash[:], Size: int64(hash[0]), SHA256: hash[:]}
		if k.Phase == PhaseScheduled {
			e.ScheduleTime = e.Head.CreateTime.Add(24 * time.Hour)
		}
	case PhaseUpdated:
		// The sequence alone says what it changes, and whether there is a time.
		e.Head, e.Reason = head(byte(10+k.Sequence)), "sooner"
		if k.Sequence%2 == 1 {
			e.ScheduleTime = testEpoch.Add(time.Duration(k.Sequence) * time.Hour)
		}
	case PhaseCancelled:
		e.Reason = "not wanted"
	case PhaseStarted:
		e.Execution = &Execution{Host: "h", Version: "v", Redelivered: k.Sequence > 0}
	case PhaseMessage, PhaseSucceeded:
		e.Message = []byte{byte(k.Delivery)}
	case PhaseDeadLettered:
		e.Failure, e.Cause = &Failure{Code: 13, Message: "broken"}, CausePermanentFailure
		e.Decision = "INTERNAL is permanent"
	case PhaseRetrying:
		// Half of them were asked for by the handler and spend nothing.
		e.NextAttempt, e.NextAttemptTime, e.Decision = k.Attempt, e.Time.Add(time.Minute), "asked for"
		if k.Delivery%2 == 1 {
			e.NextAttempt++
			e.Failure, e.Decision = &Failure{Code: 14, Message: "away", Kind: FailureKind(k.Attempt)}, "UNAVAILABLE is retryable"
		}
	case PhaseProgress:
		e.Progress = &ProgressReport{Fraction: float64(k.Sequence) / 10, Time: e.Time}
	}
	return e
}

// head is that of a submission by a number.
func head(n byte) *Head {
	create := testEpoch.Add(time.Duration(n) * time.Minute)
	return &Head{
		CreateTime: create, Priority: 1 + int(n)%9, Labels: map[string]string{"copy": string('a' + rune(n))},
		ExpireTime: create.Add(time.Hour), ScheduleID: "nightly-" + string('a'+rune(n)),
	}
}

func drawEvents(t *rapid.T) []Event {
	return rapid.SliceOfN(rapid.Map(rapid.Custom(drawKey), event), 1, 25).Draw(t, "events")
}

func drawSome(t *rapid.T, events []Event) []Event {
	return rapid.SliceOf(rapid.SampledFrom(events)).Draw(t, "again")
}

// drawKey draws from few enough keys that equal and similar ones meet.
func drawKey(t *rapid.T) Key {
	k := Key{
		Run:      rapid.IntRange(1, 3).Draw(t, "run"),
		Attempt:  rapid.IntRange(1, 2).Draw(t, "attempt"),
		Delivery: rapid.Int64Range(0, 3).Draw(t, "delivery"),
		Phase: rapid.SampledFrom([]Phase{
			PhaseQueued, PhaseStarted, PhaseMessage, PhaseRetrying, PhaseReleased, PhaseLost,
			PhaseDeadLettered, PhaseCancelled, PhaseSucceeded, PhaseProgress, PhaseScheduled, PhaseUpdated,
		}).Draw(t, "phase"),
		Sequence: rapid.Int64Range(0, 1).Draw(t, "sequence"),
		Copy:     Copy{byte(rapid.IntRange(1, 3).Draw(t, "copy"))},
	}
	if k.Phase == PhaseUpdated {
		k.Sequence = rapid.Int64Range(1, 3).Draw(t, "update")
	}
	return k
}

// join applies events as a store does: each key once.
func join(events []Event) (Task, []NumberedEvent) {
	var joined Task
	var history []NumberedEvent
	for _, e := range distinct(events) {
		if applied := joined.Apply(&e); applied.Number > 0 {
			history = append(history, NumberedEvent{Event: e, Applied: applied})
		}
	}
	return joined, history
}

func distinct(events []Event) []Event {
	seen := map[Key]bool{}
	var once []Event
	for _, e := range events {
		if !seen[e.Key] {
			seen[e.Key] = true
			once = append(once, e)
		}
	}
	return once
}

func keyOf(history []NumberedEvent, number int64) Key {
	if number == 0 {
		return Key{}
	}
	return history[number-1].Key
}

func withoutNumbers(t Task) Task {
	t.PayloadNumber, t.ResultNumber = 0, 0
	return t
}
