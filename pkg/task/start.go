package task

import "slices"

// StartRequest asks whether a delivery may be started that may not be its
// task's only one: a redelivery, a resend, a replay, or one of a type that runs
// at most once.
type StartRequest struct {
	// RequestID is the same when the request for one delivery is repeated.
	RequestID    string
	TaskID, Type string
	Run, Attempt int
	Copy         Copy
	// Delivery is the broker's count of acquisitions, this one included;
	// SettledDelivery that count when a worker last settled the message, 0 for
	// never.
	Delivery, SettledDelivery int64
	// PutOffFrom and PutOffTo are the last deliveries in a row that workers put off
	// without a handler that has begun, 0 for none.
	PutOffFrom, PutOffTo int64
	// Failed is the broker's count of failed deliveries since then.
	Failed int64
	// Resend: another message of this run may exist.
	Resend bool
	// AtMostOnce: a start that was permitted is not permitted again.
	AtMostOnce bool
}

// StartVerdict says what to do with a delivery. The numbers are those of the
// wire.
type StartVerdict int

// The verdicts.
const (
	// VerdictStart: start the handler.
	VerdictStart StartVerdict = iota + 1
	// VerdictDrop: another message holds the run, or the run has ended.
	VerdictDrop
	// VerdictRepeat: the outcome is on record and only its settlement was lost.
	VerdictRepeat
	// VerdictGiveUp: the type runs at most once, and this was started before.
	VerdictGiveUp
)

// StartAnswer answers a StartRequest.
type StartAnswer struct {
	Verdict StartVerdict
	// Outcome is set for REPEAT.
	Outcome *Event
	// Crashes counts the failed deliveries since the last settlement of which no
	// worker has said that it survived them.
	Crashes int
	// Crashed is the STARTED event of the last of them that ran alone: its attempt
	// is spent.
	Crashed *Event
}

// Claim says which message holds a run of a task: no other one is started, as
// far as its worker asks.
type Claim struct {
	Copy Copy
	// Delivery and RequestID are those of the latest delivery whose start was
	// permitted; zero if none was.
	Delivery  int64
	RequestID string
}

// DecideStart decides about a start by what is on record of the task: t, nil if
// nothing is; its history, without MESSAGE events; and the claim on the run, nil
// if there is none. It returns the claim to be recorded before the answer is
// given.
func DecideStart(r StartRequest, t *Task, history []NumberedEvent, claim *Claim) (StartAnswer, Claim) {
	held := Holder(t, history, claim, r.Run, r.Copy)
	switch {
	case t != nil && t.Run > r.Run:
		return StartAnswer{Verdict: VerdictDrop}, held
	case t != nil && t.ended(r.Run):
		if t.Decided.Copy == r.Copy {
			return StartAnswer{Verdict: VerdictRepeat, Outcome: eventOf(history, t.Decided)}, held
		}
		return StartAnswer{Verdict: VerdictDrop}, held
	case held.Copy != r.Copy:
		return StartAnswer{Verdict: VerdictDrop}, held
	}
	d := deliveriesOf(history, r)
	if d.outcome != nil {
		return StartAnswer{Verdict: VerdictRepeat, Outcome: d.outcome}, held
	}
	if r.AtMostOnce && !held.allows(r, history) {
		return StartAnswer{Verdict: VerdictGiveUp}, held
	}
	if r.Delivery > held.Delivery {
		held.Delivery, held.RequestID = r.Delivery, r.RequestID
	}
	answer := StartAnswer{Verdict: VerdictStart, Crashes: max(0, int(r.Failed)-d.survived)}
	if answer.Crashes > 0 {
		answer.Crashed = d.crashed
	}
	return answer, held
}

// allows says whether no other start than this one can have come of the last
// permit: there was none, it is this request's, or the worker that got it has put
// the message off, or has said that its handler was not begun.
func (c Claim) allows(r StartRequest, history []NumberedEvent) bool {
	putOff := c.Delivery >= r.PutOffFrom && c.Delivery <= r.PutOffTo
	return c.Delivery == 0 || c.RequestID == r.RequestID || putOff || r.Delivery > c.Delivery && c.notBegun(r.Run, history)
}

// notBegun says whether nothing came of the last permit, however its delivery was
// settled.
func (c Claim) notBegun(run int, history []NumberedEvent) bool {
	return slices.ContainsFunc(history, func(e NumberedEvent) bool {
		k := e.Key
		return k.Run == run && k.Copy == c.Copy && k.Delivery == c.Delivery && e.NotBegun()
	})
}

// Holder is the claim on a run once the message with the copy has asked for it:
// that copy gets it unless another one has it, or was started unasked while
// this one was not.
func Holder(t *Task, history []NumberedEvent, claim *Claim, run int, c Copy) Claim {
	if claim != nil {
		return *claim
	}
	if t != nil && t.Decided.Run == run && t.State.Terminal() {
		return Claim{Copy: t.Decided.Copy}
	}
	holder := c
	for i := range history {
		if k := history[i].Key; k.Run == run && k.Phase == PhaseStarted {
			if k.Copy == c {
				return Claim{Copy: c}
			}
			holder = k.Copy
		}
	}
	return Claim{Copy: holder}
}

// ended says whether a run is known to have ended.
func (t *Task) ended(run int) bool { return t.Decided.Run == run && t.State.Terminal() }

// deliveries is what the history has of a message's deliveries before the
// present one.
type deliveries struct {
	// outcome is the last that was decided and with which the message was not
	// settled.
	outcome *Event
	// crashed is the last start alone, since the message was last settled, of
	// which nothing more is known.
	crashed *Event
	// survived counts those since then that ended in a lost connection which
	// their worker survived.
	survived int
}

func deliveriesOf(history []NumberedEvent, r StartRequest) deliveries {
	var d deliveries
	var alone []*Event
	ended := map[int64]bool{}
	for i := range history {
		e := &history[i].Event
		k := e.Key
		if k.Run != r.Run || k.Copy != r.Copy || k.Delivery >= r.Delivery {
			continue
		}
		if k.Phase == PhaseRetrying && r.unsettled(e) {
			d.outcome = later(d.outcome, e)
		}
		if k.Delivery <= r.SettledDelivery {
			continue
		}
		switch k.Phase {
		case PhaseLost:
			d.survived++
			ended[k.Delivery] = true
		case PhaseReleased:
			ended[k.Delivery] = true
		case PhaseStarted:
			if e.Execution != nil && e.Execution.Alone {
				alone = append(alone, e)
			}
		}
	}
	for _, e := range alone {
		if !ended[e.Key.Delivery] {
			d.crashed = later(d.crashed, e)
		}
	}
	return d
}

// unsettled says whether the message was not settled as a RETRYING event of it
// says: nothing has settled it since, or it is still at the attempt that was
// spent.
func (r *StartRequest) unsettled(e *Event) bool {
	return e.Key.Delivery > r.SettledDelivery || e.Key.Attempt == r.Attempt && e.NextAttempt > e.Key.Attempt
}

// later is the event with the greater key; a may be nil.
func later(a, b *Event) *Event {
	if a == nil || a.Key.Compare(b.Key) < 0 {
		return b
	}
	return a
}

func eventOf(history []NumberedEvent, k Key) *Event {
	for i := range history {
		if history[i].Key == k {
			return &history[i].Event
		}
	}
	return nil
}
