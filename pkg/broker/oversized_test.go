//go:build unix

package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

// tooMuch is nearly all that can be published over AMQP 0-9-1, and too much once
// the broker has added its own headers.
const tooMuch = 130_700

func TestOversizedMessagesAreRescued(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	l := next()
	body := []byte("body\x00\xff")
	// Over AMQP 0-9-1, rejected in its work queue, which adds x-death.
	b.Publish(t, names.Tasks(), taskType, amqp091.Publishing{
		Body: body, ContentType: "text/plain", Headers: amqp091.Table{"big": strings.Repeat("x", tooMuch), "n": int64(3)},
	})
	require.NoError(t, receiveTask(t, l).DeadLetter(bounded(t), broker.Death{}))
	// Over AMQP 1.0, beyond any frame.
	send(t, b, &amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: uint64(7)}, Data: [][]byte{body},
		ApplicationProperties: map[string]any{"one": strings.Repeat("x", 100_000), "two": make([]byte, 100_000)},
	})
	send(t, b, &amqp.Message{Value: "text", ApplicationProperties: map[string]any{"big": strings.Repeat("x", 200_000)}})
	// A task with a header that is not its own.
	m := newTask(taskType)
	header, err := broker.EncodeTaskHeader(m)
	require.NoError(t, err)
	b.Publish(t, names.Tasks(), taskType, amqp091.Publishing{
		MessageId: m.ID, Type: m.Type, Body: m.Payload,
		Headers: amqp091.Table{"warren-task": header, "a": strings.Repeat("x", tooMuch-1000)},
	})
	failure := &task.Failure{Code: 14, Message: strings.Repeat("no", 2000), Kind: task.KindError}
	require.NoError(t, receiveTask(t, l).DeadLetter(bounded(t), broker.Death{
		Cause: task.CauseAttemptsExhausted, Failure: failure, Attempt: 2,
	}))
	require.NoError(t, p.PublishParked(bounded(t), []byte("good"), "the event is broken"))

	var log logtest.Buffer
	cfg := configOf(t, b.URL)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	conn := broker.NewConnection(cfg, "consume", nil)
	batches := subscribe(conn, broker.Subscription{Queue: names.Dead(), Prefetch: 10, Rescue: true}, nil)
	run(t, conn.Run)
	got := map[string]broker.DeadLetter{}
	for range 5 {
		d := requireNext(t, batches, "a dead letter")[0]
		x := broker.DecodeDeadLetter(d)
		got[string(x.Body)+x.Properties["message-id"]] = x
	}

	foreign := got[string(body)]
	require.ErrorContains(t, foreign.Problem, "no header warren-task")
	require.Equal(t, work, foreign.Queue)
	require.Equal(t, names.Tasks(), foreign.Exchange)
	require.Equal(t, []string{taskType}, foreign.RoutingKeys)
	require.WithinDuration(t, time.Now(), foreign.Time, within)
	require.Equal(t, "text/plain", foreign.Properties["content-type"])
	require.Equal(t, "3", foreign.Headers["n"])
	long := got[string(body)+"7"]
	require.Equal(t, task.CauseUndecodable, long.Cause)
	require.Equal(t, "headers: 1, of 100003 bytes", long.Headers["warren-omitted"])
	require.Contains(t, long.Headers["one"], "xxx")
	var structured broker.DeadLetter
	for _, x := range got {
		if x.Properties["type"] == "amqp-1.0" {
			structured = x
		}
	}
	require.Contains(t, string(structured.Body), "text")
	known := got[string(m.Payload)+m.ID]
	require.NoError(t, known.Problem)
	require.Equal(t, m.Copy, known.Task.Copy)
	require.Equal(t, failure, known.Failure)
	require.Equal(t, []any{task.CauseAttemptsExhausted, 2, work}, []any{known.Cause, known.Attempt, known.Queue})

	requireCounts(t, b, names.Dead(), 0, 0)
	// What comes then comes over the connection, which stays.
	brokertest.Eventually(t, within, conn.Connected)
	require.NoError(t, p.PublishParked(bounded(t), []byte("later"), "the event is broken"))
	require.Equal(t, []byte("later"), requireNext(t, batches, "a dead letter")[0].Body)
	require.Equal(t, 1, strings.Count(log.String(), "reconnecting"), log.String())
}

// What could not be handled stays.
func TestOversizedMessageIsReleasedWhenItsHandlerFails(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	b.DeclareQuorumQueue(t, inbox, nil)
	b.Publish(t, "", inbox, amqp091.Publishing{MessageId: "1", Headers: amqp091.Table{"x-big": strings.Repeat("x", 1000), "big": strings.Repeat("x", tooMuch-1000)}})
	sendTo(t, b, inbox, &amqp.Message{Data: [][]byte{[]byte("b")}, ApplicationProperties: map[string]any{"big": strings.Repeat("x", 200_000)}})
	var calls atomic.Int32
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 2, Rescue: true}, func(context.Context) error {
		if calls.Add(1) <= 2 {
			return errors.New("not now")
		}
		return nil
	})
	for range 4 {
		requireNext(t, batches, "a batch")
	}
	requireCounts(t, b, inbox, 0, 0)
}

// Without a rescue, which other subscriptions don't have, nothing spins.
func TestConnectionThatEndsAtOnceIsNotReopenedInAHotLoop(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	b.DeclareQuorumQueue(t, inbox, nil)
	sendTo(t, b, inbox, &amqp.Message{Data: [][]byte{nil}, ApplicationProperties: map[string]any{"big": strings.Repeat("x", 200_000)}})
	var log logtest.Buffer
	cfg := configOf(t, b.URL)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	conn := broker.NewConnection(cfg, "consume", nil)
	subscribe(conn, broker.Subscription{Queue: inbox, Prefetch: 2}, nil)
	run(t, conn.Run)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	<-ctx.Done()
	ends := strings.Count(log.String(), "reconnecting")
	require.Greater(t, ends, 2)
	require.Less(t, ends, 13)
}

// send puts a message over AMQP 1.0 into the dead-letter queue.
func send(t testing.TB, b brokertest.Broker, m *amqp.Message) {
	t.Helper()
	sendTo(t, b, names.Dead(), m)
}

func sendTo(t testing.TB, b brokertest.Broker, queue string, m *amqp.Message) {
	t.Helper()
	u, err := url.Parse(b.URL)
	require.NoError(t, err)
	password, _ := u.User.Password()
	conn, err := amqp.Dial(bounded(t), "amqp://"+u.Host, &amqp.ConnOptions{
		SASLType: amqp.SASLTypePlain(u.User.Username(), password), HostName: "vhost:" + strings.TrimPrefix(u.Path, "/"),
	})
	require.NoError(t, err)
	defer conn.Close()
	session, err := conn.NewSession(bounded(t), nil)
	require.NoError(t, err)
	sender, err := session.NewSender(bounded(t), "/queues/"+url.PathEscape(queue), nil)
	require.NoError(t, err)
	require.NoError(t, sender.Send(bounded(t), m, nil))
}
