package worker

import (
	"context"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// announcePeriod is the time between two tries to ask gateways for something while
// no queue takes it.
const announcePeriod = 200 * time.Millisecond

// ask asks gateways for something, which what names for the log, and gives the time
// after which to ask again if none has answered.
func (w *Worker) ask(ctx context.Context, r *brokerv1.WorkerRequest, what string) (again time.Duration) {
	err := w.publisher.PublishRequest(ctx, r)
	if err != nil && ctx.Err() == nil {
		w.cfg.Logger.Debug("a gateway can't be asked, trying again", "for", what, "request_id", r.RequestId, "error", err)
		return announcePeriod
	}
	return broker.RequestTTL
}
