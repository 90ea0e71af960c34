package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// countable are the fields that dead letters can be counted by, and how their values are
// shown; nil is as they are.
var countable = map[filter.Field]func(n int) string{
	store.FieldState: func(n int) string { return store.State(n).String() },
	store.FieldCause: func(n int) string { return task.Cause(n).String() },
	store.FieldCode:  codeName,
	store.FieldType:  nil, store.FieldReason: nil, store.FieldWorkerVersion: nil, store.FieldGroupID: nil, store.FieldQueue: nil,
}

// codeName is a google.rpc.Code's name, or its number if it has none.
func codeName(n int) string {
	if name, ok := code.Code_name[int32(n)]; ok {
		return name
	}
	return strconv.Itoa(n)
}

// AggregateDeadLetters implements warren.deadletter.v1.DeadLetterService.
func (s *Service) AggregateDeadLetters(
	ctx context.Context, r *deadletterv1.AggregateDeadLettersRequest,
) (*deadletterv1.AggregateDeadLettersResponse, error) {
	f, err := store.Fields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	q := store.AggregateQuery{Filter: f, Interval: r.Interval.AsDuration()}
	for i, name := range r.GroupBy {
		key, ok := aggregateKey(name)
		if !ok {
			return nil, badField(fmt.Sprintf("group_by[%d]", i), fmt.Sprintf(
				"dead letters can't be counted by %q; only by state, type, cause, code, reason, worker_version, group_id, queue and labels.KEY", name))
		}
		q.By = append(q.By, key)
	}
	counts, err := s.cfg.Store.Aggregate(ctx, q)
	if errors.Is(err, store.ErrTooMany) {
		return nil, countExceeded(fmt.Sprintf("there are more than %d counts", store.MaxAggregates))
	}
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.AggregateDeadLettersResponse{}
	for i := range counts {
		a := &counts[i]
		out.Total += a.Count
		out.Aggregates = append(out.Aggregates, &deadletterv1.DeadLetterAggregate{
			Values: shownValues(q.By, a.Values), StartTime: timestamp(a.Start), Count: a.Count,
			FirstDeadTime: timestamp(a.First), LastDeadTime: timestamp(a.Last),
		})
	}
	if proto.Size(out) > maxPageBytes {
		return nil, countExceeded("what there is to count takes more than 4 MiB")
	}
	return out, nil
}

func countExceeded(why string) error {
	return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED,
		"%s; narrow the filter, count by less, or by a longer interval", why)
}

// aggregateKey is what a name of group_by stands for; false for nothing.
func aggregateKey(name string) (store.AggregateKey, bool) {
	if label, ok := strings.CutPrefix(name, string(filter.FieldLabels)+"."); ok {
		// As filters spell keys that are no words.
		if unquoted, err := strconv.Unquote(label); err == nil {
			label = unquoted
		}
		return store.AggregateKey{Label: label}, label != ""
	}
	_, ok := countable[filter.Field(name)]
	return store.AggregateKey{Field: filter.Field(name)}, ok
}

// shownValues are the values of a count as the API shows them.
func shownValues(by []store.AggregateKey, values []string) []string {
	for i, key := range by {
		show := countable[key.Field]
		if n, err := strconv.Atoi(values[i]); show != nil && err == nil {
			values[i] = show(n)
		}
	}
	return values
}
