package queues

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxDrain is the longest time that is worth telling.
const maxDrain = 10 * 365 * 24 * time.Hour

// answer is what the management API says of queues by their names, or why it says
// nothing.
type answer struct {
	loads   map[string]management.Load
	missing string
}

// reading is a queue whose numbers are being gathered.
type reading struct{ queue *adminv1.Queue }

// unknown says what would make fields known.
func (r *reading) unknown(fields, advice string) {
	r.queue.Unknown = append(r.queue.Unknown, fields+": "+advice)
}

// load enters what the management API says. What is delayed is a task that waits
// for a retry, or, rarely, one that a worker has put off for seconds.
func (r *reading) load(a answer) {
	const fields = "unacked, publish_rate, drain_time"
	load := a.loads[r.queue.Name]
	switch {
	case a.missing != "":
		r.unknown(fields, a.missing)
	case load.Unacknowledged == nil || load.PublishRate == nil:
		r.unknown(fields, "the management API shows none: the queue is newer than its last sample, or statistics are off in RabbitMQ")
	}
	r.queue.Unacked, r.queue.PublishRate, r.queue.Retrying = load.Unacknowledged, load.PublishRate, load.Delayed
}

func (r *reading) retrying(n int64, err error) {
	if err != nil {
		r.unknown("retrying", storeProblem(err))
		return
	}
	r.queue.Retrying = &n
}

// age enters since when the oldest task has waited; zero is that none does.
func (r *reading) age(oldest time.Time, known bool, err error) {
	switch {
	case err != nil:
		r.unknown("oldest_age", storeProblem(err))
	case !known:
		r.unknown("oldest_age", "the store holds too many tasks to find it in a second")
	case !oldest.IsZero():
		r.queue.OldestAge = durationpb.New(max(r.queue.Time.AsTime().Sub(oldest), 0))
	}
}

func (r *reading) scheduled(n int64, err error) {
	if err != nil {
		r.unknown("scheduled", storeProblem(err))
		return
	}
	r.queue.Scheduled = &n
}

func storeProblem(err error) string {
	if errors.Is(err, store.ErrUnavailable) {
		return "the gateway's store does not answer; call again"
	}
	return "the gateway's store did not answer in time; GetQueue takes longer"
}

// end derives what follows from the rest.
func (r *reading) end(t Type) *adminv1.Queue {
	q := r.queue
	if t.Finished == nil {
		r.unknown("acknowledge_rate, drain_time", "this gateway has not heard of its workers yet; call again in some seconds")
	}
	if q.Ready == nil || q.PublishRate == nil || q.AcknowledgeRate == nil {
		return q
	}
	if shrinks := *q.AcknowledgeRate - *q.PublishRate; shrinks > 0 {
		seconds := min(float64(*q.Ready)/shrinks, maxDrain.Seconds())
		q.DrainTime = durationpb.New(time.Duration(seconds * float64(time.Second)))
	}
	return q
}
