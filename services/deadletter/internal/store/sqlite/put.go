package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertDeadLetter = `INSERT INTO dead_letters (id, is_foreign, task_id, state, version, change, reopen_run,
	first_dead_time, update_time, fingerprint_version, occurrence_count, operator_reason,
	type, cause, code, message, stack, kind, reason, decision, run, attempt, worker_id, trace_id,
	labels, priority, create_time, run_time, dead_time, payload_size, queue, worker_version, group_id)
VALUES (?, ?, ?, ?, 1, ?, 1,
	?, ?, ?, 1, '',
	?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
	?, ?, ?, ?, ?, ?, ?, ?, ?)`

	updateLatest = `UPDATE dead_letters SET type = ?, cause = ?, code = ?, message = ?, stack = ?, kind = ?,
	reason = ?, decision = ?, run = ?, attempt = ?, worker_id = ?, trace_id = ?,
	labels = ?, priority = ?, create_time = ?, run_time = ?, dead_time = ?, payload_size = ?, queue = ?, worker_version = ?, group_id = ?
WHERE sequence = ?`

	updateArrived = `UPDATE dead_letters SET state = ?, version = version + 1, change = ?,
	first_dead_time = min(first_dead_time, ?), update_time = iif(?, ?, update_time), replay_id = iif(state = ?, replay_id, ''),
	occurrence_count = occurrence_count + 1, fingerprint_version = min(fingerprint_version, ?)
WHERE sequence = ?`

	insertOccurrence = `INSERT INTO occurrences (dead_letter, run, attempt, cause, failure, reason, decision,
	dead_time, worker_id, trace_id, broker_reason, attempts, attempts_omitted, group_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (dead_letter, run) DO NOTHING`

	replaceMessage = `REPLACE INTO messages (dead_letter, body, properties, headers, queue, exchange, routing_keys, template, first_template)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, (SELECT ifnull(first_template, template) FROM messages WHERE dead_letter = ?))`

	deleteLabels = `DELETE FROM labels WHERE dead_letter = ?`
	insertLabel  = `INSERT INTO labels (dead_letter, key, value) VALUES (?, ?, ?)`
)

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error) {
	const what = "put dead letters"
	for i := range arrivals {
		if err := arrivals[i].Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w: %d, %q: %w", what, store.ErrBadArrival, i, arrivals[i].ID, err)
		}
	}
	if len(arrivals) == 0 {
		return nil, nil
	}
	changes := make([]store.Change, len(arrivals))
	err := s.write(ctx, what, func(ctx context.Context, w *writing) error {
		for i := range arrivals {
			if err := w.stopped(); err != nil {
				return err
			}
			a := arrivals[i].Normalize(time.UnixMicro(w.now))
			var err error
			if changes[i], err = w.put(ctx, &a); err != nil {
				if sqldb.IsBadData(err) {
					err = fmt.Errorf("%w: %w", store.ErrBadArrival, err)
				}
				return fmt.Errorf("%d, %s: %w", i, a.ID, err)
			}
		}
		return w.keepArrivals(ctx)
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

func (w *writing) put(ctx context.Context, a *store.Arrival) (store.Change, error) {
	h, err := w.head(ctx, a.ID)
	if errors.Is(err, store.ErrNotFound) {
		return w.create(ctx, a)
	}
	if err != nil {
		return store.Change{}, err
	}
	return w.add(ctx, h, a)
}

// create stores the first arrival of its id.
func (w *writing) create(ctx context.Context, a *store.Arrival) (store.Change, error) {
	change := store.Change{ID: a.ID, Kind: store.ChangeCreated, State: store.StateOpen, Run: a.Occurrence.Run}
	id := uuid.MustParse(a.ID)
	taskID := a.ID
	if a.Foreign {
		taskID = ""
	}
	latest, err := latestArgs(a)
	if err != nil {
		return change, err
	}
	// A group is there before its dead letters, which are counted as they come.
	if err := w.groupArrival(ctx, a, &change); err != nil {
		return change, err
	}
	args := append([]any{
		id[:], a.Foreign, taskID, int64(store.StateOpen), w.nextChange(), micros(a.Occurrence.DeadTime), w.now, int64(a.Fingerprint.Version),
	}, latest...)
	result, err := w.execute(ctx, insertDeadLetter, args...)
	if err != nil {
		return change, err
	}
	sequence, err := result.LastInsertId()
	if err != nil {
		return change, err
	}
	if _, err := w.addOccurrence(ctx, sequence, a); err != nil {
		return change, err
	}
	if err := w.showMessage(ctx, sequence, a); err != nil {
		return change, err
	}
	return w.arrived(ctx, sequence, a, change, 0)
}

// add stores another arrival of a dead letter.
func (w *writing) add(ctx context.Context, h head, a *store.Arrival) (store.Change, error) {
	run := a.Occurrence.Run
	change := store.Change{ID: a.ID, Kind: store.ChangeHistory, State: h.state, Run: run}
	if run <= h.purgedRun {
		change.Kind = store.ChangeNone
		return change, nil
	}
	fresh, err := w.addOccurrence(ctx, h.sequence, a)
	if err != nil {
		return change, err
	}
	if !fresh {
		change.Kind = store.ChangeNone
		return change, nil
	}
	died := run > h.run && (h.state == store.StateOpen || run >= h.reopenRun)
	if died {
		change.Kind = store.ChangeDiedAgain
		if change.State, err = w.diedInto(ctx, h, a); err != nil {
			return change, err
		}
		if change.ReplaysEnded, err = w.endIntents(ctx, h.sequence, run, store.OutcomeDeadLettered); err != nil {
			return change, err
		}
	}
	if err := w.groupArrival(ctx, a, &change); err != nil {
		return change, err
	}
	if run > h.run {
		if err := w.showLatest(ctx, h.sequence, a); err != nil {
			return change, err
		}
	}
	err = w.exec(ctx, updateArrived, int64(change.State), w.nextChange(), micros(a.Occurrence.DeadTime), died, w.now,
		int64(change.State), int64(a.Fingerprint.Version), h.sequence)
	if err != nil {
		return change, err
	}
	return w.arrived(ctx, h.sequence, a, change, h.state)
}

// arrived stores what goes with each new occurrence.
func (w *writing) arrived(ctx context.Context, sequence int64, a *store.Arrival, change store.Change, from store.State) (store.Change, error) {
	var err error
	if change.Notified, err = w.tell(ctx, sequence, a, change, from); err != nil {
		return change, err
	}
	return change, w.audit(ctx, sequence, store.AuditEntry{
		Action: store.ActionArrive, From: from, To: change.State, Run: change.Run,
	})
}

// addOccurrence is false when the run is there already.
func (w *writing) addOccurrence(ctx context.Context, sequence int64, a *store.Arrival) (bool, error) {
	o := &a.Occurrence
	failure, err := encodeFailure(o.Failure)
	if err != nil {
		return false, err
	}
	attempts, err := encodeAttempts(o.Attempts)
	if err != nil {
		return false, err
	}
	result, err := w.execute(ctx, insertOccurrence, sequence, int64(o.Run), int64(o.Attempt), int64(o.Cause),
		failure, o.Reason, o.Decision, micros(o.DeadTime), o.WorkerID, o.TraceID, o.BrokerReason, attempts, int64(o.AttemptsOmitted), a.Fingerprint.GroupID)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// showLatest makes an arrival the one that the dead letter shows.
func (w *writing) showLatest(ctx context.Context, sequence int64, a *store.Arrival) error {
	args, err := latestArgs(a)
	if err != nil {
		return err
	}
	if err := w.exec(ctx, updateLatest, append(args, sequence)...); err != nil {
		return err
	}
	return w.showMessage(ctx, sequence, a)
}

func (w *writing) showMessage(ctx context.Context, sequence int64, a *store.Arrival) error {
	args, err := messageArgs(sequence, a)
	if err != nil {
		return err
	}
	if err := w.exec(ctx, replaceMessage, append(args, sequence)...); err != nil {
		return err
	}
	if err := w.exec(ctx, deleteLabels, sequence); err != nil {
		return err
	}
	for key, value := range a.Labels {
		if err := w.exec(ctx, insertLabel, sequence, key, value); err != nil {
			return err
		}
	}
	return nil
}

// latestArgs are the columns from type to group_id.
func latestArgs(a *store.Arrival) ([]any, error) {
	labels, err := encode(a.Labels, len(a.Labels))
	if err != nil {
		return nil, err
	}
	o := &a.Occurrence
	var code any
	var message, stack string
	var kind int64
	if f := o.Failure; f != nil {
		code, message, stack, kind = int64(f.Code), f.Message, f.Stack, int64(f.Kind)
	}
	return []any{
		a.Type, int64(o.Cause), code, message, stack, kind, o.Reason, o.Decision, int64(o.Run), int64(o.Attempt), o.WorkerID, o.TraceID,
		labels, int64(a.Priority), micros(a.CreateTime), micros(a.RunTime), micros(o.DeadTime), int64(len(a.Message.Body)), a.Message.Queue,
		o.WorkerVersion(), a.Fingerprint.GroupID,
	}, nil
}

func messageArgs(sequence int64, a *store.Arrival) ([]any, error) {
	m := &a.Message
	properties, err := encode(m.Properties, len(m.Properties))
	if err != nil {
		return nil, err
	}
	headers, err := encode(m.Headers, len(m.Headers))
	if err != nil {
		return nil, err
	}
	keys, err := encode(m.RoutingKeys, len(m.RoutingKeys))
	if err != nil {
		return nil, err
	}
	return []any{sequence, blob(m.Body), properties, headers, m.Queue, m.Exchange, keys, blob(a.Template)}, nil
}
