package api_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// BenchmarkAMillion asks, over gRPC, a store of 1,000,000 dead letters what operators
// ask: `-benchtime 50x` gives each question 50 times. Their p50 and p99 are what counts.
func BenchmarkAMillion(b *testing.B) {
	const n = 1_000_000
	w := newWorld(b)
	began := time.Now()
	fill(b, w, n)
	b.Logf("%d dead letters were put in %s", n, time.Since(began).Round(time.Second))

	for _, q := range []struct {
		name string
		ask  func(ctx context.Context, i int) error
	}{
		{"newest page of a type and code", func(ctx context.Context, i int) error {
			return w.page(ctx, fmt.Sprintf(`type = "acme.v1.Type%d.Do" AND code = "UNAVAILABLE"`, i%40))
		}},
		{"page of what is open with a label", func(ctx context.Context, i int) error {
			return w.page(ctx, fmt.Sprintf(`state = "OPEN" AND labels.customer = "c%d"`, i))
		}},
		{"page of one task's trace", func(ctx context.Context, i int) error {
			return w.page(ctx, fmt.Sprintf(`trace_id = "%032x"`, i*9973+1))
		}},
		{"page of a text in the message", func(ctx context.Context, i int) error {
			return w.page(ctx, fmt.Sprintf(`message : "customer %d "`, i*9973))
		}},
		{"list of failure groups", func(ctx context.Context, i int) error {
			_, err := w.ListFailureGroups(ctx, &deadletterv1.ListFailureGroupsRequest{PageSize: 50, OrderBy: []string{"", "open_count desc"}[i%2]})
			return err
		}},
		{"preview of 100,000", func(ctx context.Context, i int) error {
			r, err := w.PreviewReplay(ctx, &deadletterv1.PreviewReplayRequest{Selector: &deadletterv1.DeadLetterSelector{
				Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: `labels.tenth = "yes"`},
			}})
			if err == nil && r.Selection.Count != n/10 {
				err = fmt.Errorf("%d are selected", r.Selection.Count)
			}
			return err
		}},
		{"counts by type and code", func(ctx context.Context, i int) error {
			_, err := w.AggregateDeadLetters(ctx, &deadletterv1.AggregateDeadLettersRequest{GroupBy: []string{"type", "code"}})
			return err
		}},
	} {
		b.Run(q.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				require.NoError(b, q.ask(b.Context(), len(took)))
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(1e3*took[len(took)/2].Seconds(), "p50-ms")
			b.ReportMetric(1e3*took[len(took)*99/100].Seconds(), "p99-ms")
		})
	}
}

func (w *world) page(ctx context.Context, filter string) error {
	_, err := w.ListDeadLetters(ctx, &deadletterv1.ListDeadLettersRequest{Filter: filter, PageSize: 50})
	return err
}

// fill puts n dead letters of 40 task types, 5 codes and 60 messages.
func fill(b *testing.B, w *world, n int) {
	b.Helper()
	const batch = 1000
	for begin := 0; begin < n; begin += batch {
		arrivals := make([]store.Arrival, batch)
		for i := range arrivals {
			arrivals[i] = oneOf(begin + i)
		}
		_, err := w.store.Put(b.Context(), arrivals)
		require.NoError(b, err)
	}
}

func oneOf(i int) store.Arrival {
	a := arrival(i)
	a.ID, a.Type = task.NewID(), fmt.Sprintf("acme.v1.Type%d.Do", i%40)
	a.Labels = map[string]string{"customer": fmt.Sprint("c", i%5000)}
	if i%10 == 3 {
		a.Labels["tenth"] = "yes"
	}
	o := &a.Occurrence
	o.DeadTime, o.TraceID = time.Now().Add(-time.Duration(i)*time.Millisecond), fmt.Sprintf("%032x", i+1)
	f := *o.Failure
	f.Code, f.Message = []int{14, 13, 5, 9, 4}[i%5], fmt.Sprintf("step %c: customer %d does not answer", 'a'+i%12, i)
	o.Failure = &f
	groups.Identify(&a)
	return a
}
