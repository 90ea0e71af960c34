// Package starts answers workers that ask whether they may start a delivery
// which may not be its task's only one: it issues start permits.
package starts

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	// maxWaiting bounds the requests that wait. One more is dropped: its worker
	// repeats it after [broker.RequestTTL].
	maxWaiting = 16_384
	// maxDecide bounds the requests that are decided in one transaction of the
	// store, between which others get to write.
	maxDecide = 512
	// maxAnswers bounds the messages with answers that are on their way at once.
	maxAnswers = 64
	// maxTogether and maxTogetherBytes bound a message with several answers; one that
	// is larger goes by itself.
	maxTogether      = 256
	maxTogetherBytes = 1 << 20
	// maxBehind is how long a start waits for the projection to catch up. Workers
	// wait for their permit a little longer, so that there is time to decide and
	// to tell them.
	maxBehind = 8 * time.Second
	// answerTimeout bounds telling workers what was decided for a batch: then
	// they have asked again.
	answerTimeout = broker.RequestTTL
	// logPeriod is the time between two log lines about the same trouble.
	logPeriod = 10 * time.Second
)

// Projection lets decisions wait until the store has caught up.
type Projection interface {
	// CatchUpWithin waits for that no longer than d.
	CatchUpWithin(ctx context.Context, d time.Duration) error
}

// Store decides about starts by what is on record, as store.Store says.
type Store interface {
	Start(ctx context.Context, requests []task.StartRequest) ([]task.StartAnswer, error)
}

// Controller tells a worker something.
type Controller interface {
	PublishControl(ctx context.Context, workerID string, m *brokerv1.ControlMessage) error
}

// Config is what an issuer needs.
type Config struct {
	GatewayID  string
	Projection Projection
	Store      Store
	Controller Controller
	Logger     *slog.Logger
}

// Issuer issues start permits while its Run does. What it can't answer, it does
// not answer: the worker asks again.
type Issuer struct {
	cfg     Config
	waiting chan asked
	// Log lines about a full queue, undecided requests, and answers not told.
	full, undecided, untold rate.Sometimes
}

// asked is a request and who asked. One that came together with others is answered
// together with others.
type asked struct {
	workerID string
	request  task.StartRequest
	together bool
}

// NewIssuer makes an issuer.
func NewIssuer(cfg Config) *Issuer {
	sometimes := func() rate.Sometimes { return rate.Sometimes{Interval: logPeriod} }
	return &Issuer{cfg: cfg, waiting: make(chan asked, maxWaiting), full: sometimes(), undecided: sometimes(), untold: sometimes()}
}

// Ask hands over what a worker has asked for with one message, and never blocks. It drops
// requests while too many wait.
func (i *Issuer) Ask(workerID string, requests ...task.StartRequest) {
	for _, r := range requests {
		select {
		case i.waiting <- asked{workerID, r, len(requests) > 1}:
		default:
			i.full.Do(func() {
				i.cfg.Logger.Warn("too many starts wait for their permit, workers have to ask again", "waiting", maxWaiting)
			})
		}
	}
}

// Run answers requests until ctx ends: all that wait in one go, so that many
// share one wait for the projection and one transaction.
func (i *Issuer) Run(ctx context.Context) {
	for {
		select {
		case first := <-i.waiting:
			i.serve(ctx, i.gather(first))
		case <-ctx.Done():
			return
		}
	}
}

// gather adds to the first request those that wait already.
func (i *Issuer) gather(first asked) []asked {
	batch := []asked{first}
	for len(batch) < maxWaiting {
		select {
		case a := <-i.waiting:
			batch = append(batch, a)
		default:
			return batch
		}
	}
	return batch
}
