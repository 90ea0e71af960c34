package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// forgetEnded forgets tasks that have ended, the oldest first, until as many
// rows are removed as may be.
func (p *purge) forgetEnded(ctx context.Context, which store.Ended) error {
	heads, err := p.heads(ctx, which)
	if err != nil {
		return err
	}
	for p.left > 0 && len(heads) > 0 {
		oldest := 0
		for i := range heads {
			if heads[i].endTime < heads[oldest].endTime {
				oldest = i
			}
		}
		if err := p.forget(ctx, heads[oldest].tombstone); err != nil {
			return err
		}
		next, found, err := p.head(ctx, heads[oldest].taskType, which)
		if err != nil {
			return err
		}
		if heads[oldest] = next; !found {
			heads = slices.Delete(heads, oldest, oldest+1)
		}
	}
	return nil
}

// head is the oldest of the ended tasks of a type.
type head struct {
	tombstone
	taskType string
	endTime  int64
}

// heads returns those of all task types that are meant. Types are few, and each
// is found in the index by itself: tasks of types that are not meant are not
// looked at, however many there are.
func (p *purge) heads(ctx context.Context, which store.Ended) ([]head, error) {
	types := []string{which.TaskType}
	if which.TaskType == "" {
		var err error
		if types, err = p.types(ctx, which.Except); err != nil {
			return nil, err
		}
	}
	var heads []head
	for _, t := range types {
		h, found, err := p.head(ctx, t, which)
		if err != nil {
			return nil, err
		}
		if found {
			heads = append(heads, h)
		}
	}
	return heads, nil
}

// types returns the task types of which tasks have ended, but for some.
func (p *purge) types(ctx context.Context, except []string) ([]string, error) {
	var types []string
	for last := ""; ; {
		var next sql.Null[string]
		if err := p.nextType.QueryRowContext(ctx, last).Scan(&next); err != nil {
			return nil, err
		}
		if !next.Valid {
			return types, nil
		}
		if last = next.V; !slices.Contains(except, last) {
			types = append(types, last)
		}
	}
}

func (p *purge) head(ctx context.Context, taskType string, which store.Ended) (head, bool, error) {
	h := head{taskType: taskType}
	err := p.oldestEnded.QueryRowContext(ctx, taskType, which.Before.UnixMicro()).Scan(&h.id, &h.run, &h.version, &h.endTime)
	if errors.Is(err, sql.ErrNoRows) {
		return head{}, false, nil
	}
	return h, err == nil, err
}
