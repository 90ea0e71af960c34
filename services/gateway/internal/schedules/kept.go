package schedules

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Decode gives what a schedule is, as the store keeps it.
func Decode(s *store.Schedule) (*adminv1.Schedule, error) {
	spec := new(adminv1.Schedule)
	if err := proto.Unmarshal(s.Spec, spec); err != nil {
		return nil, fmt.Errorf("decode the schedule %s: %w", s.ID, err)
	}
	return spec, nil
}

// Firings gives the last firings of a schedule, the newest first, each with the error
// of decoding it.
func Firings(s *store.Schedule) iter.Seq2[*adminv1.Firing, error] {
	return func(yield func(*adminv1.Firing, error) bool) {
		for _, kept := range s.Firings {
			f := new(adminv1.Firing)
			err := proto.Unmarshal(kept.Encoded, f)
			if err != nil {
				err = fmt.Errorf("decode a firing of the schedule %s: %w", s.ID, err)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}
