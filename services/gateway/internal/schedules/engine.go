package schedules

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// maxDue bounds the schedules that are read at once.
	maxDue = 64
	// maxFiring bounds those that fire at the same time.
	maxFiring = 4
	// maxSleep is how long a jump of the clock can stay unnoticed, and a schedule that
	// another process has changed.
	maxSleep = time.Second
	// pause is between two looks at the store when nothing came of the first.
	pause = 100 * time.Millisecond
	// logPeriod is the time between two warnings that schedules can't fire.
	logPeriod = 10 * time.Second
)

// Store keeps schedules and tasks, as store.Store says.
type Store interface {
	GetSchedule(ctx context.Context, id string) (store.Schedule, error)
	DueSchedules(ctx context.Context, now time.Time, limit int) ([]store.Schedule, time.Time, error)
	Fire(ctx context.Context, f store.Fire) ([]store.Change, error)
	Task(ctx context.Context, id string) (task.Task, error)
	Unended(ctx context.Context, scheduleID string) (taskID string, err error)
}

// Maker makes tasks of what schedules submit.
type Maker interface {
	// MakeTask makes the task of a firing, which is put into its queue at a time. It
	// submits nothing. An error with the code UNAVAILABLE passes by itself.
	MakeTask(ctx context.Context, r *taskv1.SubmitTaskRequest, scheduleID, taskID string, at time.Time) (*store.Scheduled, error)
}

// Config is what an engine needs.
type Config struct {
	Store Store
	Maker Maker
	// Changed is told of each task that was made, Later of when it is due.
	Changed func(taskID string)
	Later   func(at time.Time)
	// Clock tells the time by which schedules fire. Default: time.Now.
	Clock  func() time.Time
	Logger *slog.Logger
	// MeterProvider is where firings are counted; nil is otel's global one.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the spans of firings. Default: otel's global one.
	TracerProvider trace.TracerProvider
}

// scope names the instrumentation in traces.
const scope = "github.com/warrenmq/warren/services/gateway/internal/schedules"

// Engine fires schedules, while its Run does.
type Engine struct {
	cfg        Config
	wake       chan struct{}
	triggering *semaphore.Weighted
	tracer     trace.Tracer
	troubles   rate.Sometimes
	metrics    *metrics
}

// New makes an engine.
func New(cfg Config) *Engine {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	return &Engine{
		cfg: cfg, wake: make(chan struct{}, 1), triggering: semaphore.NewWeighted(1), troubles: rate.Sometimes{Interval: logPeriod},
		tracer: cfg.TracerProvider.Tracer(scope), metrics: newMetrics(cfg.MeterProvider),
	}
}

// Now is the time by which schedules fire, as the store keeps it.
func (e *Engine) Now() time.Time { return e.cfg.Clock().UTC().Truncate(time.Microsecond) }

// Wake has the engine look at the schedules that were changed. It never blocks.
func (e *Engine) Wake() { wake.Signal(e.wake) }

// Run fires schedules until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	for ctx.Err() == nil {
		e.sleep(ctx, e.round(ctx))
	}
}

// sleep waits until a time, but at most maxSleep, or until it is woken.
func (e *Engine) sleep(ctx context.Context, until time.Time) {
	d := maxSleep
	if !until.IsZero() {
		d = max(0, min(until.Sub(e.Now()), maxSleep))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.wake:
	case <-ctx.Done():
	}
}

// round fires schedules that are due, and says when to look again.
func (e *Engine) round(ctx context.Context) (next time.Time) {
	var due []store.Schedule
	err := retry.Until(ctx, e.cfg.Logger, "reading schedules", func() (err error) {
		due, next, err = e.cfg.Store.DueSchedules(ctx, e.Now(), maxDue)
		return err
	})
	if err != nil || len(due) == 0 {
		return next
	}
	var firing errgroup.Group
	firing.SetLimit(maxFiring)
	fired := make([]bool, len(due))
	for i, s := range due {
		firing.Go(func() error {
			fired[i] = e.fireDue(ctx, s)
			return nil
		})
	}
	_ = firing.Wait()
	for _, ok := range fired {
		if ok {
			// Some may be due again, and others still.
			return e.Now()
		}
	}
	return e.Now().Add(pause)
}
