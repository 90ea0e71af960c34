package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectNotifications = `SELECT n.sequence, n.id, n.state, n.rule, n.channel, n.trigger, d.id, n.run, coalesce(nullif(n.type, ''), d.type, ''),
	n.cause, n.code, n.group_id, n.held_back, n.measured, n.time, n.attempts, n.next_time, n.last_error
FROM notifications n LEFT JOIN dead_letters d ON d.sequence = n.dead_letter WHERE `

	// The condition on the state is that of the index, word by word.
	selectDue = selectNotifications + `n.state = 1 AND n.channel = ? AND n.next_time <= ? ORDER BY n.next_time, n.sequence LIMIT ?`

	selectNotification = `SELECT state, channel FROM notifications WHERE id = ?`

	updateSent   = `UPDATE notifications SET state = 2 WHERE id = ?`
	updateFailed = `UPDATE notifications SET state = ?, attempts = attempts + 1, next_time = ?, last_error = ? WHERE id = ?`

	upsertSuccess = `INSERT INTO notification_channels (channel, last_success, last_error) VALUES (?, ?, '')
ON CONFLICT (channel) DO UPDATE SET last_success = excluded.last_success`
	upsertFailure = `INSERT INTO notification_channels (channel, last_failure, last_error) VALUES (?, ?, ?)
ON CONFLICT (channel) DO UPDATE SET last_failure = excluded.last_failure, last_error = excluded.last_error`

	selectChannels = `SELECT coalesce(c.channel, w.channel) AS name, c.last_success, c.last_failure, ifnull(c.last_error, ''), ifnull(w.n, 0), w.oldest
FROM notification_channels c
FULL JOIN (SELECT channel, count(*) AS n, min(time) AS oldest FROM notifications WHERE state = 1 GROUP BY channel) w ON w.channel = c.channel
ORDER BY name`

	giveUpOthers = `UPDATE notifications SET state = 3, last_error = ? WHERE sequence IN (
	SELECT sequence FROM notifications WHERE state = 1 AND time < ? AND channel NOT IN (%s) LIMIT ?)`

	deleteEnded = `DELETE FROM notifications WHERE sequence IN (
	SELECT sequence FROM notifications WHERE state <> 1 AND time < ? LIMIT ?)`
	deleteOldMarks = `DELETE FROM notification_marks WHERE (rule, subject) IN (
	SELECT rule, subject FROM notification_marks WHERE holds = 0 AND time < ? LIMIT ?)`
)

// noChannel is why a notification is given up that has nowhere to go.
const noChannel = "the channel is not configured"

// notificationColumns are what filters compare, of the notification n.
var notificationColumns = &sqldb.Columns{Fields: map[filter.Field]sqldb.Column{
	store.FieldState: {SQL: "n.state"}, store.FieldRuleID: {SQL: "n.rule"}, store.FieldChannel: {SQL: "n.channel"},
	store.FieldTrigger: {SQL: "n.trigger"}, store.FieldGroupID: {SQL: "n.group_id"}, store.FieldCreateTime: {SQL: "n.time"},
	store.FieldFailedAttempts: {SQL: "n.attempts"},
	store.FieldDeadLetterID:   {SQL: "ifnull(" + uuidText("d.id") + ", '')"},
}}

// uuidText is the canonical spelling of a column with the 16 bytes of a UUID.
func uuidText(column string) string {
	hex := "lower(hex(" + column + "))"
	part := func(from, n int) string { return fmt.Sprintf("substr(%s, %d, %d)", hex, from, n) }
	return "iif(" + column + " IS NULL, NULL, " +
		strings.Join([]string{part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)}, " || '-' || ") + ")"
}

// DueNotifications implements [store.Notifications].
func (s *Store) DueNotifications(ctx context.Context, channel string, now time.Time, limit int) ([]store.Notification, error) {
	var due []store.Notification
	err := s.read(ctx, "read due notifications", func(tx *sql.Tx) (err error) {
		due, err = collect(ctx, tx, scanNotification, selectDue, channel, now.UnixMicro(), bounded(limit))
		return err
	})
	return due, err
}

// NotificationLog implements [store.Notifications].
func (s *Store) NotificationLog(ctx context.Context, f filter.Expr, before int64, limit int) ([]store.Notification, error) {
	c := &sqldb.Condition{}
	if before > 0 {
		c.And("n.sequence < ?", before)
	}
	c.Filter(f, notificationColumns)
	var found []store.Notification
	err := s.read(ctx, "read notifications", func(tx *sql.Tx) (err error) {
		found, err = collect(ctx, tx, scanNotification, selectNotifications+c.SQL()+` ORDER BY n.sequence DESC LIMIT ?`, c.Args(bounded(limit))...)
		return err
	})
	return found, err
}

func scanNotification(row scanner) (store.Notification, error) {
	var n store.Notification
	var id, deadLetter []byte
	var at, next int64
	var measured sql.Null[string]
	err := row.Scan(&n.Sequence, &id, &n.State, &n.RuleID, &n.Channel, &n.Trigger, &deadLetter, &n.Run, &n.Type,
		&n.Cause, &n.Code, &n.GroupID, &n.HeldBack, &measured, &at, &n.Attempts, &next, &n.LastError)
	if err != nil {
		return n, err
	}
	n.Time = time.UnixMicro(at).UTC()
	if n.State == store.NotificationWaiting {
		n.NextTime = time.UnixMicro(next).UTC()
	}
	var errs [3]error
	n.ID, errs[0] = idOf(id)
	if deadLetter != nil {
		n.DeadLetterID, errs[1] = idOf(deadLetter)
	}
	n.Measured, errs[2] = decodeMeasured(measured)
	return n, errors.Join(errs[:]...)
}

// NotificationSent implements [store.Notifications].
func (s *Store) NotificationSent(ctx context.Context, id string) error {
	return s.changeNotification(ctx, id, func(ctx context.Context, w *writing, u uuid.UUID, channel string) error {
		if err := w.exec(ctx, upsertSuccess, channel, w.now); err != nil {
			return err
		}
		return w.exec(ctx, updateSent, u[:])
	})
}

// NotificationFailed implements [store.Notifications].
func (s *Store) NotificationFailed(ctx context.Context, id string, f store.NotificationFailure) error {
	state := store.NotificationWaiting
	if f.GiveUp {
		state = store.NotificationGivenUp
	}
	return s.changeNotification(ctx, id, func(ctx context.Context, w *writing, u uuid.UUID, channel string) error {
		if err := w.exec(ctx, upsertFailure, channel, w.now, f.Error); err != nil {
			return err
		}
		return w.exec(ctx, updateFailed, int64(state), f.NextTime.UnixMicro(), f.Error, u[:])
	})
}

// changeNotification changes one that has not ended.
func (s *Store) changeNotification(ctx context.Context, id string, change func(context.Context, *writing, uuid.UUID, string) error) error {
	return s.write(ctx, "change notification "+id, func(ctx context.Context, w *writing) error {
		u, err := uuid.Parse(id)
		if err != nil {
			return fmt.Errorf("%w: %q is no id", store.ErrNotFound, id)
		}
		var state store.NotificationState
		var channel string
		err = w.tx.QueryRowContext(ctx, selectNotification, u[:]).Scan(&state, &channel)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNotFound
		}
		if err != nil || state != store.NotificationWaiting {
			return err
		}
		return change(ctx, w, u, channel)
	})
}

// NotificationTested implements [store.Notifications].
func (s *Store) NotificationTested(ctx context.Context, channel, problem string, by store.Call) error {
	return s.write(ctx, "note the test of channel "+channel, func(ctx context.Context, w *writing) error {
		result := store.AuditChange{Field: "sent", After: "true"}
		err := w.exec(ctx, upsertSuccess, channel, w.now)
		if problem != "" {
			result = store.AuditChange{Field: "error", After: problem}
			err = w.exec(ctx, upsertFailure, channel, w.now, problem)
		}
		if err != nil {
			return err
		}
		return w.record(ctx, by, store.ResourceChannel+channel, result)
	})
}

// ChannelStates implements [store.Notifications].
func (s *Store) ChannelStates(ctx context.Context) ([]store.ChannelState, error) {
	var states []store.ChannelState
	err := s.read(ctx, "read the channels of notifications", func(tx *sql.Tx) (err error) {
		states, err = collect(ctx, tx, func(row scanner) (c store.ChannelState, err error) {
			var success, failure, oldest sql.Null[int64]
			err = row.Scan(&c.Channel, &success, &failure, &c.LastError, &c.Waiting, &oldest)
			c.LastSuccess, c.LastFailure, c.Oldest = fromMicros(success), fromMicros(failure), fromMicros(oldest)
			return c, err
		}, selectChannels)
		return err
	})
	return states, err
}

// GiveUpNotifications implements [store.Notifications].
func (s *Store) GiveUpNotifications(ctx context.Context, channels []string, before time.Time, limit int) (int, error) {
	args := []any{noChannel, before.UnixMicro()}
	for _, channel := range channels {
		args = append(args, channel)
	}
	query := fmt.Sprintf(giveUpOthers, strings.TrimPrefix(strings.Repeat(", ?", len(channels)), ", "))
	return s.changed(ctx, "give up notifications", query, append(args, bounded(limit))...)
}

// ForgetNotifications implements [store.Notifications].
func (s *Store) ForgetNotifications(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := s.changed(ctx, "forget notifications", deleteEnded, before.UnixMicro(), bounded(limit))
	if err != nil {
		return 0, err
	}
	m, err := s.changed(ctx, "forget what was told", deleteOldMarks, before.UnixMicro(), bounded(limit))
	return n + m, err
}

// changed runs a statement in a transaction, and says how many rows it has changed.
func (s *Store) changed(ctx context.Context, what, query string, args ...any) (int, error) {
	var n int64
	err := s.write(ctx, what, func(ctx context.Context, w *writing) error {
		result, err := w.execute(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return int(n), err
}
