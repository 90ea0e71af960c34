//go:build unix

package cmd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/rawbroker"
	"github.com/warrenmq/warren/services/bench/internal/report"
	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/stats"
)

// Names of measures, and of what they find.
const (
	deepPipeline = "L1"
	callers64    = "L64"
	unary        = "unary"
	bulk         = "bulk"
	stream       = "stream"
	latency      = "latency"
	lateness     = "lateness"
	calls        = "call"
	callLatency  = "call-latency"

	rate     = "rate"
	accepted = "accepted"
	started  = "start"
	done     = "done"
	durable  = "durable"
	direct   = "direct"
)

// The raw measures are several times as fast as Warren's: with more messages
// they take about as long.
const (
	deepPipelineTimes = 4
	callers64Times    = 2
	// warmShare of a round's tasks warm up.
	warmShare = 5
)

// comparisons are Warren's rates as shares of the broker's, and of each other.
func comparisons() []report.Comparison {
	return []report.Comparison{
		{Measure: callers64, Name: rate, Of: deepPipeline, NameOfOther: rate},
		{Measure: unary, Name: done, Of: callers64, NameOfOther: rate},
		{Measure: unary, Name: done, Of: deepPipeline, NameOfOther: rate},
		{Measure: calls, Name: done, Of: callers64, NameOfOther: rate},
		{Measure: calls, Name: done, Of: unary, NameOfOther: done},
		{Measure: bulk, Name: accepted, Of: deepPipeline, NameOfOther: rate},
		{Measure: bulk, Name: done, Of: deepPipeline, NameOfOther: rate},
		{Measure: stream, Name: accepted, Of: deepPipeline, NameOfOther: rate},
		{Measure: bulk, Name: accepted, Of: unary, NameOfOther: accepted},
		{Measure: stream, Name: accepted, Of: unary, NameOfOther: accepted},
		{Measure: stream, Name: done, Of: unary, NameOfOther: done},
	}
}

// measures are all that can be measured.
type measures struct {
	raw    *rawbroker.Limits
	load   *load.Load
	tasks  int
	during time.Duration
}

// named are those of the names, in the order of a round: what is compared comes
// one after the other.
func (m measures) named(names []string) []rounds.Measure {
	all := []rounds.Measure{
		m.limit(deepPipeline, deepPipelineTimes*m.tasks, m.raw.Deep),
		m.throughput(bulk, m.load.Bulk),
		m.throughput(stream, m.load.Stream),
		m.limit(callers64, callers64Times*m.tasks, m.raw.Callers64),
		m.throughput(unary, m.load.Unary),
		m.calls(),
		m.latency(),
		m.lateness(),
		m.callLatency(),
	}
	return slices.DeleteFunc(all, func(r rounds.Measure) bool { return !slices.Contains(names, r.Name) })
}

func (m measures) limit(name string, n int, run func(context.Context, int) (time.Duration, error)) rounds.Measure {
	return timed(name, n, rounds.Value{Name: rate, Unit: "messages/s"}, run)
}

func (m measures) calls() rounds.Measure {
	return timed(calls, m.tasks, rounds.Value{Name: done, Unit: "calls/s"}, m.load.Calls)
}

// timed measures how many per second n in all come to.
func timed(name string, n int, value rounds.Value, run func(context.Context, int) (time.Duration, error)) rounds.Measure {
	return rounds.Measure{
		Name: name, Tasks: n,
		Warm: func(ctx context.Context) error {
			_, err := run(ctx, max(n/warmShare, 1))
			return err
		},
		Run: func(ctx context.Context) ([]rounds.Value, error) {
			took, err := run(ctx, n)
			return []rounds.Value{{Name: value.Name, Unit: value.Unit, Number: perSecond(n, took)}}, err
		},
	}
}

func (m measures) throughput(name string, run func(context.Context, int) (load.Rates, error)) rounds.Measure {
	return rounds.Measure{
		Name: name, Tasks: m.tasks,
		Warm: func(ctx context.Context) error {
			_, err := run(ctx, max(m.tasks/warmShare, 1))
			return err
		},
		Run: func(ctx context.Context) ([]rounds.Value, error) {
			took, err := run(ctx, m.tasks)
			return []rounds.Value{
				{Name: accepted, Unit: "tasks/s", Number: perSecond(m.tasks, took.Accepted)},
				{Name: done, Unit: "tasks/s", Number: perSecond(m.tasks, took.Done)},
			}, err
		},
	}
}

func (m measures) latency() rounds.Measure {
	return rounds.Measure{
		Name: latency, Tasks: int(m.during.Seconds() * load.Rate),
		Run: func(ctx context.Context) ([]rounds.Value, error) {
			found, err := m.load.Latencies(ctx, m.during)
			if err != nil {
				return nil, err
			}
			return slices.Concat(
				percentiles(accepted, found, func(l load.Latency) time.Duration { return l.Accepted }),
				percentiles(started, found, func(l load.Latency) time.Duration { return l.Started }),
				percentiles(done, found, func(l load.Latency) time.Duration { return l.Seen }),
			), nil
		},
	}
}

func (m measures) lateness() rounds.Measure {
	return rounds.Measure{
		Name: lateness, Tasks: int(m.during.Seconds() * load.LateRate),
		Run: func(ctx context.Context) ([]rounds.Value, error) {
			found, err := m.load.Lateness(ctx, m.during)
			if err != nil {
				return nil, err
			}
			return slices.Concat(
				percentiles(started, found, func(l load.Late) time.Duration { return l.Started }),
				percentiles(done, found, func(l load.Late) time.Duration { return l.Seen }),
			), nil
		},
	}
}

func (m measures) callLatency() rounds.Measure {
	return rounds.Measure{
		Name: callLatency, Tasks: int(m.during.Seconds() * load.Rate),
		Run: func(ctx context.Context) ([]rounds.Value, error) {
			found, err := m.load.CallLatencies(ctx, m.during)
			if err != nil {
				return nil, err
			}
			return slices.Concat(
				percentiles(durable, found, func(l load.CallLatency) time.Duration { return l.Durable }),
				percentiles(direct, found, func(l load.CallLatency) time.Duration { return l.Direct }),
			), nil
		},
	}
}

func percentiles[T any](name string, found []T, of func(T) time.Duration) []rounds.Value {
	all := make([]time.Duration, len(found))
	for i, l := range found {
		all[i] = of(l)
	}
	in := millis(all)
	var values []rounds.Value
	for _, p := range []float64{50, 90, 99} {
		values = append(values, rounds.Value{Name: fmt.Sprintf("%s p%.0f", name, p), Unit: "ms", Number: stats.Percentile(in, p)})
	}
	return values
}

func millis(all []time.Duration) []float64 {
	in := make([]float64, len(all))
	for i, d := range all {
		in[i] = float64(d) / float64(time.Millisecond)
	}
	return in
}

func perSecond(n int, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}
