package gatewaytest

import (
	"context"
	"fmt"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// suspicious is from how many crashes on a worker runs a task alone.
const suspicious = 2

// AnswerStarts answers those whose worker has had everything before them
// confirmed: its marker has passed.
func (g *Gateway) AnswerStarts(ctx context.Context) error {
	g.Lock()
	defer g.Unlock()
	for id, asked := range g.Asked {
		if !g.markers[id] || g.Mute {
			continue
		}
		delete(g.Asked, id)
		if err := g.answerStarts(ctx, asked); err != nil {
			return err
		}
	}
	return nil
}

// answerStarts answers as it was asked: one, or several at once.
func (g *Gateway) answerStarts(ctx context.Context, asked *brokerv1.WorkerRequest) error {
	requests, err := broker.StartRequestsFromProto(asked)
	if err != nil {
		return err
	}
	answers := make([]*brokerv1.StartAnswer, len(requests))
	for i, r := range requests {
		if answers[i], err = broker.StartAnswerToProto(r.RequestID, g.Decide(r)); err != nil {
			return err
		}
	}
	m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Starts{Starts: &brokerv1.StartAnswers{Answers: answers}}}
	if asked.GetStart() != nil {
		m.Body = &brokerv1.ControlMessage_Start{Start: answers[0]}
	}
	return g.Publisher.PublishControl(ctx, asked.Worker.WorkerId, m)
}

// ClaimKey is the key of a run in Claims.
func ClaimKey(r task.StartRequest) string { return fmt.Sprint(r.TaskID, r.Run) }

// Decide decides about a start on what has been said so far, as a store does. The
// caller holds the lock.
func (g *Gateway) Decide(r task.StartRequest) task.StartAnswer {
	var t *task.Task
	var history []task.NumberedEvent
	seen := map[task.Key]bool{}
	for _, e := range g.Events {
		if e.TaskID != r.TaskID || seen[e.Key] {
			continue
		}
		seen[e.Key] = true
		if t == nil {
			t = &task.Task{}
		}
		history = append(history, task.NumberedEvent{Event: e, Applied: t.Apply(&e)})
	}
	key := ClaimKey(r)
	var claim *task.Claim
	if c, ok := g.Claims[key]; ok {
		claim = &c
	}
	answer, next := task.DecideStart(r, t, history, claim)
	g.Claims[key] = next
	if g.Suspect && answer.Verdict == task.VerdictStart {
		answer.Crashes = suspicious
	}
	return answer
}
