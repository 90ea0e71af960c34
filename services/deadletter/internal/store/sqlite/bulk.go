package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	updateAuditEvent = `UPDATE audit_events SET changes = ? WHERE sequence = ?`
	updateRestored   = `UPDATE dead_letters SET replay_count = 0 WHERE sequence = ?`
)

// ChangeMembers implements [store.Bulk].
func (s *Store) ChangeMembers(ctx context.Context, r store.BulkRequest) (store.BulkAnswer, error) {
	var answer store.BulkAnswer
	err := s.write(ctx, "change selected dead letters", func(ctx context.Context, w *writing) error {
		answer = store.BulkAnswer{Event: r.Audit.Event}
		for _, m := range r.Members[:min(len(r.Members), store.MaxBulk)] {
			if err := w.stopped(); err != nil {
				return err
			}
			item, err := w.changeMember(ctx, &r, m)
			if err != nil {
				return err
			}
			answer.Items = append(answer.Items, item)
		}
		var err error
		answer.Event, err = w.recordBulk(ctx, &r, answer.Items)
		return err
	})
	if err != nil {
		return store.BulkAnswer{}, err
	}
	return answer, nil
}

func (w *writing) changeMember(ctx context.Context, r *store.BulkRequest, m store.Member) (store.BulkItem, error) {
	h, err := w.headAt(ctx, m.Sequence)
	if errors.Is(err, store.ErrNotFound) {
		return store.BulkItem{Obstacle: store.ObstacleGone}, nil
	}
	if err != nil {
		return store.BulkItem{}, err
	}
	item, err := w.rules.judge(ctx, r, m, &h)
	if err != nil || item.Obstacle != store.ObstacleNone {
		return item, err
	}
	return item, w.apply(ctx, r.Action, h, r.By)
}

// judge says what would become of a member.
func (b *rulebook) judge(ctx context.Context, r *store.BulkRequest, m store.Member, h *head) (store.BulkItem, error) {
	item := store.BulkItem{ID: h.id.String(), State: h.state}
	version := m.Version
	if !r.Versioned {
		version = 0
	}
	standing, err := b.standing(ctx, h)
	item.Obstacle = r.Action.Obstacle(standing, version)
	return item, err
}

func (w *writing) apply(ctx context.Context, action store.BulkAction, h head, by store.Call) error {
	switch action {
	case store.BulkDiscard:
		return w.move(ctx, h, discarding(h, by))
	case store.BulkRestore:
		if err := w.exec(ctx, updateRestored, h.sequence); err != nil {
			return err
		}
		return w.move(ctx, h, transition{action: store.ActionRestore, to: store.StateOpen, run: h.run, reopenRun: h.reopenRun, by: by})
	case store.BulkPurge:
		return w.purge(ctx, h, store.AuditEntry{Action: store.ActionPurge, Reason: by.Reason, Actor: by.Actor})
	case store.BulkHold:
		return w.hold(ctx, h, store.ActionHold, by)
	case store.BulkRelease:
		return w.hold(ctx, h, store.ActionRelease, by)
	}
	return errors.New("no action")
}

// recordBulk adds the event of a call that changes many, or brings it up to date.
func (w *writing) recordBulk(ctx context.Context, r *store.BulkRequest, items []store.BulkItem) (int64, error) {
	changed, skipped := r.Audit.Changed, r.Audit.Skipped
	for i := range items {
		if items[i].Obstacle == store.ObstacleNone {
			changed++
		} else {
			skipped++
		}
	}
	if changed == 0 {
		return 0, nil
	}
	changes := append(slices.Clone(r.Audit.Changes),
		store.AuditChange{Field: "changed", After: strconv.FormatInt(changed, 10)},
		store.AuditChange{Field: "skipped", After: strconv.FormatInt(skipped, 10)})
	if r.Audit.Event != 0 {
		encoded, err := encode(changes, len(changes))
		if err != nil {
			return 0, err
		}
		return r.Audit.Event, w.exec(ctx, updateAuditEvent, encoded, r.Audit.Event)
	}
	if err := w.record(ctx, r.By, r.Audit.Resource, changes...); err != nil {
		return 0, err
	}
	var event int64
	err := w.tx.QueryRowContext(ctx, `SELECT last_insert_rowid()`).Scan(&event)
	return event, err
}

// JudgeMembers implements [store.Bulk].
func (s *Store) JudgeMembers(ctx context.Context, r store.BulkRequest) ([]store.BulkItem, error) {
	var items []store.BulkItem
	err := s.read(ctx, "judge selected dead letters", func(tx *sql.Tx) error {
		found, err := tx.PrepareContext(ctx, selectHeadBySequence)
		if err != nil {
			return err
		}
		defer func() { _ = found.Close() }()
		rules := newRulebook(tx)
		for _, m := range r.Members[:min(len(r.Members), store.MaxPage)] {
			item := store.BulkItem{Obstacle: store.ObstacleGone}
			h, err := scanHead(found.QueryRowContext(ctx, m.Sequence))
			if err == nil {
				item, err = rules.judge(ctx, &r, m, &h)
			}
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			items = append(items, item)
		}
		return nil
	})
	return items, err
}
