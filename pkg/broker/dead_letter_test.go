//go:build unix

package broker_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// cemetery is a broker whose dead letters are decoded as they come.
func cemetery(t testing.TB) (brokertest.Broker, *broker.Publisher, func() openLink, func() broker.DeadLetter) {
	t.Helper()
	b, p, next := workplace(t)
	batches := consume(t, b.URL, broker.Subscription{
		Queue: names.Dead(), Prefetch: 10, Declare: (*broker.Topology).CheckDead,
	}, nil)
	return b, p, next, func() broker.DeadLetter {
		return broker.DecodeDeadLetter(requireNext(t, batches, "a dead letter")[0])
	}
}

func TestDeadLetterOfAWorker(t *testing.T) {
	t.Parallel()
	_, p, next, dead := cemetery(t)
	m := newTask(taskType)
	m.Labels, m.Trace = map[string]string{"customer": "Müller"}, map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	m.Payload = []byte{0, 0xff}
	require.NoError(t, p.PublishTask(bounded(t), m))
	ended := time.Now().UTC().Truncate(time.Microsecond)
	failure := &task.Failure{Code: 14, Message: "no", Kind: task.KindTimeout}
	require.NoError(t, receiveTask(t, next()).DeadLetter(bounded(t), broker.Death{
		Cause: task.CauseAttemptsExhausted, Failure: failure, Decision: "attempt 2 of 2", Attempt: 2,
		History: &brokerv1.AttemptHistory{Omitted: 1, Attempts: []*brokerv1.PastAttempt{{
			Attempt: 2, Delivery: 7, WorkerId: "w", WorkerHost: "h", WorkerVersion: "v",
			EndTime: timestamppb.New(ended), Failure: broker.FailureToProto(failure), Decision: "why",
		}}},
	}))

	x := dead()
	require.NoError(t, x.Problem)
	assert.False(t, x.ByBroker())
	assert.Empty(t, x.BrokerReason)
	assert.Equal(t, task.CauseAttemptsExhausted, x.Cause)
	assert.Equal(t, failure, x.Failure)
	assert.Equal(t, "attempt 2 of 2", x.Decision)
	assert.Equal(t, 2, x.Attempt)
	assert.Equal(t, 1, x.AttemptsOmitted)
	assert.Equal(t, ended, x.Time)
	assert.Equal(t, []task.Record{{
		Key:      task.Key{Run: 1, Attempt: 2, Delivery: 7, Phase: task.PhaseStarted, Copy: m.Copy},
		WorkerID: "w", Execution: task.Execution{Host: "h", Version: "v"}, EndTime: ended,
		Outcome: task.OutcomeTimedOut, Failure: failure, Decision: "why",
	}}, x.Attempts)
	got := x.Task
	assert.Equal(t, m.Trace, got.Trace)
	assert.Equal(t, m.Labels, got.Labels)
	assert.Equal(t, m.Payload, got.Payload)
	assert.Equal(t, m.Payload, x.Body)
	assert.Equal(t, []any{m.ID, m.Type, m.Run, m.Copy, m.Priority}, []any{got.ID, got.Type, got.Run, got.Copy, got.Priority})
	assert.True(t, m.CreateTime.Equal(got.CreateTime))
	assert.Equal(t, work, x.Queue)
	assert.Equal(t, names.Tasks(), x.Exchange)
	assert.Equal(t, []string{taskType}, x.RoutingKeys)
	assert.Equal(t, m.ID, x.Properties["message-id"])
	assert.Equal(t, "2", x.Properties["delivery-mode"])
	assert.Equal(t, m.Trace["traceparent"], x.Headers["traceparent"])
	assert.Contains(t, x.Headers["x-death"], `"reason":"rejected"`)
}

func TestDeadLetterOfTheBroker(t *testing.T) {
	t.Parallel()
	for reason, c := range map[string]struct {
		cause task.Cause
		kill  func(t *testing.T, b brokertest.Broker, p *broker.Publisher, l openLink) *broker.TaskMessage
	}{
		"rejected": {task.CauseRejected, func(t *testing.T, b brokertest.Broker, p *broker.Publisher, _ openLink) *broker.TaskMessage {
			m := publishTask(t, p)
			take(t, b).Reject(false)
			return m
		}},
		"expired": {task.CauseExpired, func(t *testing.T, _ brokertest.Broker, p *broker.Publisher, _ openLink) *broker.TaskMessage {
			m := newTask(taskType)
			m.ExpireTime, m.ExpireInBroker = time.Now().Add(50*time.Millisecond), true
			require.NoError(t, p.PublishTask(bounded(t), m))
			return m
		}},
		"maxlen": {task.CauseMaxLength, func(t *testing.T, b brokertest.Broker, p *broker.Publisher, _ openLink) *broker.TaskMessage {
			m := publishTask(t, p)
			b.SetPolicy(t, "short", ".*work.*", "queues", map[string]any{"max-length": 0, "overflow": "drop-head"})
			return m
		}},
		"delivery_limit": {task.CauseDeliveryLimit, func(t *testing.T, b brokertest.Broker, p *broker.Publisher, _ openLink) *broker.TaskMessage {
			b.SetPolicy(t, "few", ".*work.*", "queues", map[string]any{"delivery-limit": 1})
			brokertest.Eventually(t, within, func() bool { return b.Queue(t, work).Policy == "few" })
			m := publishTask(t, p)
			take(t, b).Reject(true)
			take(t, b).Reject(true)
			return m
		}},
		"retried, then rejected": {task.CauseRejected, func(t *testing.T, b brokertest.Broker, p *broker.Publisher, l openLink) *broker.TaskMessage {
			m := publishTask(t, p)
			h := &brokerv1.AttemptHistory{Attempts: []*brokerv1.PastAttempt{{Attempt: 1, Failure: &taskv1.Failure{Code: 14}}}}
			r := attach(t, l, 1)
			require.NoError(t, receive(t, r).Retry(bounded(t), broker.Again{At: time.Now(), Attempt: 2, History: h}))
			require.NoError(t, r.Close(bounded(t)))
			take(t, b).Reject(false)
			return m
		}},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			b, p, next, dead := cemetery(t)
			m := c.kill(t, b, p, next())
			x := dead()
			require.NoError(t, x.Problem)
			require.True(t, x.ByBroker())
			assert.Equal(t, c.cause, x.Cause)
			assert.Equal(t, m.ID, x.Task.ID)
			assert.Equal(t, m.Copy, x.Task.Copy)
			assert.Equal(t, work, x.Queue)
			assert.Nil(t, x.Failure)
			assert.WithinDuration(t, time.Now(), x.Time, within)
			assert.False(t, x.Time.Before(m.CreateTime.Truncate(time.Microsecond)), "the broker's seconds are no reason to die before birth")
			if strings.HasPrefix(reason, "retried") {
				assert.Equal(t, 2, x.Attempt)
				assert.Len(t, x.Attempts, 1)
				assert.Positive(t, x.Acquired)
			} else {
				assert.Zero(t, x.Attempt)
				assert.Equal(t, reason, x.BrokerReason)
			}
		})
	}
}

// take gets the next task as somebody who is no worker.
func take(t *testing.T, b brokertest.Broker) amqp091.Delivery {
	t.Helper()
	channel := b.Channel(t)
	var d amqp091.Delivery
	brokertest.Eventually(t, within, func() (ok bool) {
		var err error
		d, ok, err = channel.Get(work, false)
		require.NoError(t, err)
		return ok
	})
	return d
}

func TestDeadLetterThatIsNoTask(t *testing.T) {
	t.Parallel()
	b, p, _, dead := cemetery(t)
	header, err := broker.EncodeTaskHeader(newTask(taskType))
	require.NoError(t, err)
	for what, publish := range map[string]func(){
		"no header warren-task": func() {
			b.Publish(t, names.Tasks(), taskType, amqp091.Publishing{Body: []byte("garbage")})
			take(t, b).Reject(false)
		},
		"no valid TaskHeader": func() {
			b.Publish(t, names.Dead(), "key", amqp091.Publishing{Headers: amqp091.Table{"warren-task": []byte("x")}})
		},
		"is no task id": func() {
			b.Publish(t, names.Dead(), "key", amqp091.Publishing{MessageId: "5", Headers: amqp091.Table{"warren-task": header}})
		},
		"without having died": func() {
			b.Publish(t, names.Dead(), "key", amqp091.Publishing{MessageId: task.NewID(), Headers: amqp091.Table{"warren-task": header}})
		},
		"the event is broken": func() { require.NoError(t, p.PublishParked(bounded(t), []byte("garbage"), "the event is broken")) },
	} {
		publish()
		x := dead()
		require.ErrorContains(t, x.Problem, what)
		require.Equal(t, task.CauseUndecodable, x.Cause)
		require.False(t, x.ByBroker())
		require.Zero(t, x.Task)
	}
}

func TestCheckDeadNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn := broker.NewConnection(configOf(t, b.URL), "consume", nil)
	run(t, conn.Run)
	require.ErrorContains(t, conn.Do(bounded(t), (*broker.Topology).CheckDead), "warren.dead is missing, a gateway declares it")
	require.NoError(t, conn.Do(bounded(t), (*broker.Topology).DeclareShared))
	require.NoError(t, conn.Do(bounded(t), (*broker.Topology).CheckDead))
}

func TestDeadLetterTexts(t *testing.T) {
	t.Parallel()
	x := broker.DecodeDeadLetter(broker.Delivery{
		Priority: 7, Timestamp: time.Unix(1, 0),
		Headers: map[string]any{
			"text": "a", "number": int64(3), "bytes": []byte{1, 2}, "no-text": "\xff", "nan": math.NaN(),
			"table": amqp091.Table{"k": []any{true, nil}}, "long": strings.Repeat("é", 20<<10), "key\xff": "",
		},
	})
	require.Equal(t, map[string]string{"priority": "7", "timestamp": "1970-01-01T00:00:01Z"}, x.Properties)
	require.Len(t, x.Headers["long"], 16<<10+len("…"))
	delete(x.Headers, "long")
	require.Equal(t, map[string]string{
		"text": "a", "number": "3", "bytes": `"AQI="`, "no-text": `"/w=="`, "nan": "NaN",
		"table": `{"k":[true,null]}`, "key\uFFFD": "",
	}, x.Headers)
}

// FuzzDecodeDeadLetter forges what a publisher can.
func FuzzDecodeDeadLetter(f *testing.F) {
	header, err := broker.EncodeTaskHeader(newTask(taskType))
	require.NoError(f, err)
	failure, err := broker.EncodeFailure(&task.Failure{Code: 5, Details: []task.Detail{{TypeURL: "t", Value: []byte{1}}}})
	require.NoError(f, err)
	history, err := broker.EncodeHistory(&brokerv1.AttemptHistory{Omitted: -1, Attempts: []*brokerv1.PastAttempt{
		{Attempt: -1, Delivery: -1, EndTime: &timestamppb.Timestamp{Seconds: math.MaxInt64, Nanos: -1}, Failure: &taskv1.Failure{}},
	}})
	require.NoError(f, err)
	wild, err := proto.Marshal(&brokerv1.TaskHeader{
		Run: math.MaxInt32, Copy: make([]byte, 16), Priority: -3, CreateTime: &timestamppb.Timestamp{Seconds: math.MinInt64, Nanos: math.MaxInt32},
	})
	require.NoError(f, err)
	const id = "018f2d3c-5a6b-7c8d-9e0f-112233445566"
	f.Add(id, taskType, header, "PERMANENT_FAILURE", failure, history, "rejected", "warren.work."+taskType, int64(2), int64(1))
	f.Add(id, "", header, "", []byte{}, history, "expired", "", int64(-1), int64(math.MaxInt64))
	f.Add("urn:uuid:"+id, "\xff", wild, "NONSENSE", []byte{0xff}, []byte{0xff}, "maxlen", ".work.", int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, id, key string, header []byte, cause string, failure, history []byte, reason, queue string, number, seconds int64) {
		for _, deaths := range []any{
			[]any{amqp091.Table{"reason": reason, "queue": queue, "exchange": key, "routing-keys": []any{key, number}, "time": time.Unix(seconds, 0)}},
			[]any{amqp091.Table{"reason": number, "queue": failure, "routing-keys": key, "time": reason}}, []any{reason}, []any{}, reason, number, nil,
		} {
			for _, problem := range []any{nil, key} {
				x := broker.DecodeDeadLetter(broker.Delivery{
					MessageID: id, RoutingKey: key, Body: header, Timestamp: time.Unix(seconds, 0), Expiration: reason,
					Headers: map[string]any{
						"warren-task": header, "warren-problem": problem, "x-death": deaths, "traceparent": key,
						"x-opt-warren-cause": cause, "x-opt-warren-failure": failure, "x-opt-warren-history": history,
						"x-opt-warren-decision": key, "x-opt-warren-attempt": number, "x-acquired-count": seconds, "x-opt-warren-delivery": int32(number),
					},
				})
				requireSane(t, &x)
			}
		}
	})
}

// requireSane fails on what no reader of a dead letter should have to expect.
func requireSane(t *testing.T, x *broker.DeadLetter) {
	t.Helper()
	require.NotZero(t, x.Cause)
	require.GreaterOrEqual(t, x.Attempt, 0)
	require.GreaterOrEqual(t, x.Acquired, int64(0))
	require.GreaterOrEqual(t, x.AttemptsOmitted, 0)
	require.False(t, x.ByBroker() && x.BrokerReason == "")
	b, err := json.Marshal(x)
	require.NoError(t, err)
	require.True(t, utf8.Valid(b))
	for _, texts := range []map[string]string{x.Properties, x.Headers} {
		for k, v := range texts {
			require.True(t, utf8.ValidString(k) && utf8.ValidString(v))
		}
	}
	if x.Problem != nil {
		require.Zero(t, x.Task)
		require.Equal(t, task.CauseUndecodable, x.Cause)
		return
	}
	// A task has all that a status event needs, and can be written again.
	e := task.Event{
		TaskID: x.Task.ID, Type: x.Task.Type, Failure: x.Failure,
		Key:  task.Key{Run: x.Task.Run, Attempt: max(x.Attempt, 1), Delivery: x.Acquired + 1, Phase: task.PhaseDeadLettered, Copy: x.Task.Copy},
		Head: &task.Head{CreateTime: x.Task.CreateTime, Labels: x.Task.Labels, ExpireTime: x.Task.ExpireTime},
	}
	encoded, err := broker.EncodeEvent(&e)
	require.NoError(t, err)
	_, err = broker.DecodeEvent(encoded)
	require.NoError(t, err)
}
