package starts

import (
	"context"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// letter is what a worker is told with one message.
type letter struct {
	workerID string
	// together: the worker has asked for several at once. Else there is one answer.
	together bool
	requests []*task.StartRequest
	answers  []*brokerv1.StartAnswer
	bytes    int
}

// tellAll tells the workers what was decided.
func (i *Issuer) tellAll(ctx context.Context, batch []asked, answers []task.StartAnswer) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(maxAnswers)
	for _, l := range i.letters(ctx, batch, answers) {
		g.Go(func() error {
			if err := i.cfg.Controller.PublishControl(ctx, l.workerID, i.message(l)); err != nil {
				i.notTold(ctx, l.workerID, l.requests[0], err)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// letters puts the answers together that go to the same worker.
func (i *Issuer) letters(ctx context.Context, batch []asked, answers []task.StartAnswer) []*letter {
	var all []*letter
	open := map[string]*letter{}
	for n := range batch {
		a := &batch[n]
		answer, err := broker.StartAnswerToProto(a.request.RequestID, answers[n])
		if err != nil {
			i.notTold(ctx, a.workerID, &a.request, err)
			continue
		}
		size := proto.Size(answer)
		l := open[a.workerID]
		if !a.together || l == nil || len(l.answers) == maxTogether || l.bytes+size > maxTogetherBytes {
			l = &letter{workerID: a.workerID, together: a.together}
			all = append(all, l)
			if a.together {
				open[a.workerID] = l
			}
		}
		l.requests, l.answers, l.bytes = append(l.requests, &a.request), append(l.answers, answer), l.bytes+size
	}
	return all
}

func (i *Issuer) message(l *letter) *brokerv1.ControlMessage {
	m := &brokerv1.ControlMessage{GatewayId: i.cfg.GatewayID, Time: timestamppb.Now()}
	if l.together {
		m.Body = &brokerv1.ControlMessage_Starts{Starts: &brokerv1.StartAnswers{Answers: l.answers}}
	} else {
		m.Body = &brokerv1.ControlMessage_Start{Start: l.answers[0]}
	}
	return m
}

func (i *Issuer) notTold(ctx context.Context, workerID string, r *task.StartRequest, err error) {
	i.untold.Do(func() {
		telemetry.TaskOfLog{ID: r.TaskID, Type: r.Type, Run: r.Run, Attempt: r.Attempt}.Log(i.cfg.Logger).WarnContext(ctx,
			"a worker was not told whether it may start, it has to ask again", "worker_id", workerID, "error", err)
	})
}
