package worker

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// What is withdrawn before it is sent was not asked.
func TestAQuestionIsAskedOnceItIsSent(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	q := newQuestions()
	early, late := &question{}, &question{}
	q.add(early)
	q.add(late)
	batch := q.next()
	require.Equal(t, []*question{early, late}, batch)
	require.Empty(t, q.next())
	err := q.withdraw(early, why)
	require.ErrorIs(t, err, errNotAsked)
	require.ErrorIs(t, err, why)
	require.Equal(t, []*question{late}, q.leave(batch))
	err = q.withdraw(late, why)
	require.NotErrorIs(t, err, errNotAsked)
	require.ErrorIs(t, err, why)
	gone := &question{}
	q.add(gone)
	require.ErrorIs(t, q.withdraw(gone, why), errNotAsked)
	require.Empty(t, q.next(), "what nobody waits for any more is not kept")
	for range maxAsked + 1 {
		q.add(&question{})
	}
	require.Len(t, q.next(), maxAsked)
	require.Len(t, q.next(), 1)
}

// What is to be asked while nothing can be goes with one message then.
func TestStartsAreAskedForTogether(t *testing.T) {
	t.Parallel()
	const many = 20
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	proxy := brokertest.NewProxy(t, b.URL)
	w, _ := run(t, &faults{delay: func(context.Context) error { return nil }}, Config{AMQPURLs: []string{proxy.URL()}, Concurrency: many})
	brokertest.Eventually(t, patience, func() bool {
		_, consumers := g.Count(t, g.Names.Work(typeDelay))
		return consumers == 1
	})
	proxy.Stall(brokertest.AMQP091)
	ids := make([]string, many)
	for i := range ids {
		ids[i] = g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Run = 2 })
	}
	brokertest.Eventually(t, patience, func() bool {
		s, _ := w.gate.now()
		return s.executing == many
	})
	proxy.Restore()
	for _, id := range ids {
		g.Await(t, id, task.PhaseSucceeded)
	}
	messages := 0
	g.Change(func() {
		for _, r := range g.Requests {
			if r.GetStart() != nil || r.GetStarts() != nil {
				messages++
			}
		}
	})
	require.LessOrEqual(t, messages, many/4, "what came first, and what came while its turn was")
}
