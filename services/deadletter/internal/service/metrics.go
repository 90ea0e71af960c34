package service

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// openPeriod is the time between two counts of what is OPEN, while somebody reads
	// them.
	openPeriod = 15 * time.Second
	// maxUncounted bounds the arrivals whose task types wait to be looked up.
	maxUncounted = 1024
	// countTimeout bounds looking up those that wait when the service ends.
	countTimeout = time.Second
)

// openCounter counts what is OPEN, and failure groups, as store.Store says.
type openCounter interface {
	residenceCounter
	CountOpen(ctx context.Context) ([]store.OpenCount, error)
	CountGroups(ctx context.Context) (map[store.GroupState]int64, error)
}

// metrics count dead letters and replays, once they are in the store.
type metrics struct {
	captured, replays metric.Int64Counter
	open              metric.Int64ObservableGauge
	oldest            metric.Float64ObservableGauge
	groups            metric.Int64ObservableGauge

	store openCounter
	// known says whether a task type is in the catalogue, for which it may ask the
	// gateway: so nobody who stores something waits for it.
	known   func(ctx context.Context, taskType string) bool
	arrive  chan captured
	sampler *telemetry.Sampler[[]store.OpenCount]
	grouped *telemetry.Sampler[map[store.GroupState]int64]
	letters *telemetry.Labels[captured]
	types   *telemetry.Labels[string]
	ends    *telemetry.Labels[store.Outcome]
	states  *telemetry.Labels[store.GroupState]
	observe func(metric.Callback) (stop func())
	// governed measures what policies say.
	governed *governance
}

// captured is what a dead letter is counted under. The type is empty for a message
// that is no task.
type captured struct {
	taskType string
	cause    task.Cause
}

func newMetrics(provider metric.MeterProvider, s openCounter, known func(ctx context.Context, taskType string) bool) *metrics {
	meter := telemetry.NewMeter(provider, "github.com/warrenmq/warren/services/deadletter/internal/service")
	m := &metrics{
		captured: meter.Counter("warren.dead_letter.captured", "{dead_letter}", "Runs of tasks that have died and came in, and messages that are no tasks."),
		replays:  meter.Counter("warren.dead_letter.replays", "{replay}", "Replays whose outcome is known."),
		open:     meter.ObservedGauge("warren.dead_letter.open", "{dead_letter}", "Dead letters that are OPEN."),
		oldest:   meter.ObservedSeconds("warren.dead_letter.oldest.age", "For how long the oldest OPEN dead letter has been dead."),
		groups:   meter.ObservedGauge("warren.dead_letter.groups", "{group}", "Failure groups, by what operators have said of them."),
		store:    s, known: known, arrive: make(chan captured, maxUncounted),
		letters: telemetry.NewLabels(func(c captured) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(c.taskType), telemetry.CauseKey.String(c.cause.String())}
		}),
		types: telemetry.NewLabels(func(taskType string) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(taskType)}
		}),
		ends: telemetry.NewLabels(func(o store.Outcome) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.OutcomeKey.String(replayOutcome(o))}
		}),
	}
	m.states = telemetry.NewLabels(func(s store.GroupState) []attribute.KeyValue {
		return []attribute.KeyValue{telemetry.StateKey.String(s.String())}
	})
	m.sampler = telemetry.NewSampler(openPeriod, m.countOpen)
	m.grouped = telemetry.NewSampler(openPeriod, s.CountGroups)
	m.governed = newGovernance(meter, s, m.label)
	m.observe = func(f metric.Callback) (stop func()) {
		return meter.Observe(f, m.open, m.oldest, m.groups, m.governed.residence)
	}
	return m
}

// replayOutcome is how a replay has ended, by the end of its run.
func replayOutcome(o store.Outcome) string {
	if o == store.OutcomeDeadLettered {
		return "failed_again"
	}
	return strings.ToLower(o.String())
}

// Run counts and tells what is OPEN until ctx ends.
func (m *metrics) Run(ctx context.Context) {
	defer m.observe(func(_ context.Context, o metric.Observer) error {
		m.observed(o, time.Now())
		m.governed.observed(o)
		return nil
	})()
	var sampling sync.WaitGroup
	defer sampling.Wait()
	sampling.Go(func() { m.sampler.Run(ctx) })
	sampling.Go(func() { m.grouped.Run(ctx) })
	sampling.Go(func() { m.governed.sampler.Run(ctx) })
	for {
		select {
		case c := <-m.arrive:
			m.count(ctx, c)
		case <-ctx.Done():
			m.countRest(context.WithoutCancel(ctx))
			return
		}
	}
}

func (m *metrics) countRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	for {
		select {
		case c := <-m.arrive:
			m.count(ctx, c)
		default:
			return
		}
	}
}

// arrived counts what has come in: what was there already does not count.
func (m *metrics) arrived(arrivals []store.Arrival, changes []store.Change) {
	for i := range changes {
		if changes[i].Kind == store.ChangeNone {
			continue
		}
		c := captured{arrivals[i].Type, arrivals[i].Occurrence.Cause}
		if arrivals[i].Foreign {
			c.taskType = ""
		}
		m.replayed(store.OutcomeDeadLettered, changes[i].ReplaysEnded)
		select {
		case m.arrive <- c:
		default:
			c.taskType = telemetry.UnknownType
			m.captured.Add(context.Background(), 1, m.letters.Of(c).Add...)
		}
	}
}

func (m *metrics) count(ctx context.Context, c captured) {
	c.taskType = m.label(ctx, c.taskType)
	m.captured.Add(ctx, 1, m.letters.Of(c).Add...)
}

func (m *metrics) label(ctx context.Context, taskType string) string {
	if taskType == "" || !m.known(ctx, taskType) {
		return telemetry.UnknownType
	}
	return taskType
}

// replayed counts replays that have ended.
func (m *metrics) replayed(outcome store.Outcome, n int) {
	if n > 0 {
		m.replays.Add(context.Background(), int64(n), m.ends.Of(outcome).Add...)
	}
}

// countOpen counts what is OPEN by the types of the catalogue, and all others together.
func (m *metrics) countOpen(ctx context.Context) ([]store.OpenCount, error) {
	counts, err := m.store.CountOpen(ctx)
	if err != nil {
		return nil, err
	}
	places := map[captured]int{}
	var merged []store.OpenCount
	for _, c := range counts {
		c.Type = m.label(ctx, c.Type)
		i, ok := places[captured{c.Type, c.Cause}]
		if !ok {
			places[captured{c.Type, c.Cause}] = len(merged)
			merged = append(merged, c)
			continue
		}
		merged[i].Count += c.Count
		if c.Oldest.Before(merged[i].Oldest) {
			merged[i].Oldest = c.Oldest
		}
	}
	return merged, nil
}

func (m *metrics) observed(o metric.Observer, now time.Time) {
	groups, _ := m.grouped.Last()
	for state, n := range groups {
		o.ObserveInt64(m.groups, n, m.states.Of(state).Observe...)
	}
	counts, _ := m.sampler.Last()
	oldest := map[string]time.Time{}
	for _, c := range counts {
		o.ObserveInt64(m.open, c.Count, m.letters.Of(captured{c.Type, c.Cause}).Observe...)
		if known, ok := oldest[c.Type]; !ok || c.Oldest.Before(known) {
			oldest[c.Type] = c.Oldest
		}
	}
	for taskType, since := range oldest {
		o.ObserveFloat64(m.oldest, max(now.Sub(since), 0).Seconds(), m.types.Of(taskType).Observe...)
	}
}
