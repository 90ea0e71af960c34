package storetest

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
)

// known is what the store has of a task when it decides about starts; nil for
// nothing.
func (t *modelTask) known() (*task.Task, []task.NumberedEvent) {
	if t.task.State == 0 {
		return nil, nil
	}
	var history []task.NumberedEvent
	for _, e := range t.history {
		if e.Key.Phase != task.PhaseMessage {
			history = append(history, asRead(e, false))
		}
	}
	return &t.task, history
}

// held returns the claim on a run, nil for none.
func (t *modelTask) held(run int) *task.Claim {
	if c, ok := t.claims[run]; ok {
		return &c
	}
	return nil
}

func (m model) start(requests []task.StartRequest) []task.StartAnswer {
	var answers []task.StartAnswer
	for _, r := range requests {
		t := m.of(r.TaskID)
		if r.Run <= t.purgedRun {
			answers = append(answers, task.StartAnswer{Verdict: task.VerdictDrop})
			continue
		}
		known, history := t.known()
		answer, claim := task.DecideStart(r, known, history, t.held(r.Run))
		t.claims[r.Run] = claim
		answers = append(answers, answer)
	}
	return answers
}

func (m model) claim(id string, run int, c task.Copy) (held, ended bool) {
	t := m.of(id)
	if run <= t.purgedRun {
		return false, true
	}
	known, history := t.known()
	holder := task.Holder(known, history, t.held(run), run, c)
	t.claims[run] = holder
	return holder.Copy == c, t.task.Run > run || t.task.Decided.Run == run && t.task.State.Terminal()
}

// drawRequest draws a request of a message whose events drawKey draws.
func drawRequest(t *rapid.T, id string) task.StartRequest {
	delivery := rapid.Int64Range(1, 4).Draw(t, "delivery")
	r := ask(id, byte(rapid.IntRange(1, 3).Draw(t, "copy")))
	r.RequestID = fmt.Sprintf("%x-%d", r.Copy[0], delivery)
	r.Run, r.Attempt = rapid.IntRange(1, 4).Draw(t, "run"), rapid.IntRange(1, 2).Draw(t, "attempt")
	r.Delivery, r.SettledDelivery = delivery, rapid.Int64Range(0, delivery-1).Draw(t, "settled")
	r.Failed = rapid.Int64Range(0, delivery-1).Draw(t, "failed")
	r.AtMostOnce = rapid.Bool().Draw(t, "at most once")
	return r
}

// typeOf is the type of one of the tasks: the last of them has another one.
func typeOf(id string, ids []string) string {
	if id == ids[len(ids)-1] {
		return otherType
	}
	return taskType
}
