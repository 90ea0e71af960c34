package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/filter/filtertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var auditRules = map[string]func(*testing.T, store.Store){
	"AuditEvents/of every call that changes something": recordsCalls,
	"AuditEvents/none of a call that was refused":      recordsNoRefusal,
	"AuditEvents/none of what the service does itself": recordsNobody,
	"AuditEvents/come in pages, the last one first":    pagesEvents,
	"AuditEvents/match a filter":                       filtersEvents,
	"Audit/is the last of much":                        boundsAudit,
}

// auditEvents are those that match a filter, at most a page.
func auditEvents(t test, s store.Store, text string) []store.AuditEvent {
	t.Helper()
	f, err := store.AuditFields.Parse(text)
	require.NoError(t, err)
	events, err := s.AuditEvents(t.Context(), f, 0, store.MaxPage)
	require.NoError(t, err)
	return events
}

// mutations are the calls by which an operator changes a dead letter that is OPEN, and
// what of it changes.
func mutations(t test, s store.Store) map[string]func(id, etag string) ([]store.AuditChange, error) {
	ctx := t.Context()
	became := func(state store.State) []store.AuditChange {
		return []store.AuditChange{{Field: "state", Before: "OPEN", After: state.String()}}
	}
	return map[string]func(id, etag string) ([]store.AuditChange, error){
		"ReplayDeadLetter": func(id, etag string) ([]store.AuditChange, error) {
			_, _, err := s.BeginReplay(ctx, store.ReplayRequest{ID: id, Etag: etag, Run: 2, By: call("ReplayDeadLetter")})
			return became(store.StateInReplay), err
		},
		"ReplayDeadLetters": func(id, etag string) ([]store.AuditChange, error) {
			_, err := s.ResolveNow(ctx, store.ResolveRequest{ID: id, Etag: etag, Reason: "it has SUCCEEDED", By: call("ReplayDeadLetters")})
			return became(store.StateResolved), err
		},
		"DiscardDeadLetter": func(id, etag string) ([]store.AuditChange, error) {
			_, err := s.Discard(ctx, store.DiscardRequest{ID: id, Etag: etag, By: call("DiscardDeadLetter")})
			return became(store.StateDiscarded), err
		},
		"ReviseDeadLetter": func(id, etag string) ([]store.AuditChange, error) {
			_, made, err := s.Revise(ctx, store.ReviseRequest{ID: id, Etag: etag, Payload: []byte("x"), By: call("ReviseDeadLetter")})
			return []store.AuditChange{
				{Field: "payload_revision", Before: "1", After: "2"},
				{Field: "payload_sha256", Before: fmt.Sprintf("%x", original(arrival(id, 1).Message.Body).SHA256), After: fmt.Sprintf("%x", made.SHA256)},
			}, err
		},
	}
}

func recordsCalls(t *testing.T, s store.Store) {
	for method, mutate := range mutations(t, s) {
		id := task.NewID()
		put(t, s, arrival(id, 1))
		before := len(auditEvents(t, s, ``))
		changes, err := mutate(strings.ToUpper(id), get(t, s, id).Etag)
		require.NoError(t, err, method)
		events := auditEvents(t, s, ``)
		require.Len(t, events, before+1, method)
		entries, err := s.Audit(t.Context(), id)
		require.NoError(t, err)
		last := entries[len(entries)-1]
		require.Equal(t, "CN=ann", last.Actor, method)
		by := call(method)
		by.Trace = ""
		require.Equal(t, store.AuditEvent{
			Sequence: events[0].Sequence, Time: last.Time, By: by, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
			Resource: store.ResourceDeadLetter + id, Changes: changes,
		}, events[0], method)
	}
}

func recordsNoRefusal(t *testing.T, s store.Store) {
	for method, mutate := range mutations(t, s) {
		id, closed := task.NewID(), task.NewID()
		put(t, s, arrival(id, 1), arrival(closed, 1))
		discard(t, s, closed)
		events := auditEvents(t, s, ``)
		for of, refused := range map[string]func() error{
			"etag":    func() error { _, err := mutate(id, "wrong"); return err },
			"state":   func() error { _, err := mutate(closed, get(t, s, closed).Etag); return err },
			"unknown": func() error { _, err := mutate(task.NewID(), "1"); return err },
		} {
			was := get(t, s, id)
			require.Error(t, refused(), "%s: %s", method, of)
			require.Equal(t, events, auditEvents(t, s, ``), "%s: %s", method, of)
			require.Equal(t, was, get(t, s, id))
		}
	}
}

func recordsNobody(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: 2})
	require.NoError(t, err)
	_, err = s.Resolve(t.Context(), id, 2, store.OutcomeSucceeded)
	require.NoError(t, err)
	put(t, s, arrival(id, 3))
	resolveNow(t, s, id)
	require.Empty(t, auditEvents(t, s, ``))
}

// discards has so many calls discard a dead letter each, and returns the events.
func discards(t test, s store.Store, n int) []store.AuditEvent {
	t.Helper()
	for i := range n {
		id := task.NewID()
		put(t, s, arrival(id, 1))
		by := call("DiscardDeadLetter")
		if i%2 == 1 {
			by = store.Call{Method: "DiscardDeadLetters", Actor: "unauthenticated", Peer: "192.0.2.1:" + strconv.Itoa(i), Reason: "hopeless " + strconv.Itoa(i)}
		}
		_, err := s.Discard(t.Context(), store.DiscardRequest{ID: id, By: by})
		require.NoError(t, err)
	}
	events := auditEvents(t, s, ``)
	require.Len(t, events, n)
	return events
}

func pagesEvents(t *testing.T, s store.Store) {
	require.Empty(t, auditEvents(t, s, ``))
	want := discards(t, s, 7)
	for i := range want[1:] {
		require.Greater(t, want[i].Sequence, want[i+1].Sequence)
	}
	page := func(before int64, limit int) []store.AuditEvent {
		t.Helper()
		page, err := s.AuditEvents(t.Context(), nil, before, limit)
		require.NoError(t, err)
		return page
	}
	first := page(0, 3)
	require.Equal(t, want[:3], first)
	id := task.NewID()
	put(t, s, arrival(id, 1))
	_, err := s.Discard(t.Context(), store.DiscardRequest{ID: id, By: call("DiscardDeadLetter")})
	require.NoError(t, err)
	require.Equal(t, want[3:6], page(first[2].Sequence, 3), "one that comes in meanwhile moves none")
	require.Equal(t, want[6:], page(want[5].Sequence, 3))
	require.Empty(t, page(want[6].Sequence, 3))
	require.Len(t, page(0, 1<<30), 8)
	require.Empty(t, page(0, 0))
	require.Empty(t, page(0, -1))
}

func filtersEvents(t *testing.T, s store.Store) {
	all := discards(t, s, 6)
	for _, text := range []string{
		``, `method = DiscardDeadLetters`, `method = "Discard*"`, `actor = unauthenticated AND NOT reason:hopeless`, `reason:"opel"`, `reason = "hopeless 3"`,
		`peer = "192.0.2.1:3" OR peer = "192.0.2.1:5"`, `trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"`, `trace_id = ""`,
		`resource = "` + all[2].Resource + `"`, `resource = "deadLetters/*"`, `resource:"replays/"`,
		`time >= "` + all[3].Time.Format(time.RFC3339Nano) + `"`, `time < "2020-01-01T00:00:00Z"`,
	} {
		f, err := store.AuditFields.Parse(text)
		require.NoError(t, err, text)
		want := []store.AuditEvent{}
		for _, e := range all {
			if eventHolds(f, &e) {
				want = append(want, e)
			}
		}
		require.Equal(t, want, append([]store.AuditEvent{}, auditEvents(t, s, text)...), text)
	}
	require.Len(t, auditEvents(t, s, `method = DiscardDeadLetters`), 3, "they are not all or nothing")
	page, err := s.AuditEvents(t.Context(), nil, all[2].Sequence, 2)
	require.NoError(t, err)
	require.Equal(t, all[3:5], page)
}

// eventHolds says whether a filter holds for an audit event: what engines must select.
func eventHolds(f filter.Expr, e *store.AuditEvent) bool {
	return filtertest.Holds(f, filtertest.Subject{
		Texts: map[filter.Field][]string{
			store.FieldMethod: {e.By.Method}, store.FieldActor: {e.By.Actor}, store.FieldPeer: {e.By.Peer}, store.FieldReason: {e.By.Reason},
			store.FieldResource: {e.Resource}, store.FieldTraceID: {e.TraceID},
		},
		Times: map[filter.Field]time.Time{store.FieldTime: e.Time},
	})
}

func boundsAudit(t *testing.T, s store.Store) {
	id := task.NewID()
	arrivals := make([]store.Arrival, store.MaxAudit+5)
	for i := range arrivals {
		arrivals[i] = store.Arrival{ID: id, Type: taskType, Occurrence: store.Occurrence{Run: i + 1, Cause: task.CauseExpired, DeadTime: epoch}}
	}
	put(t, s, arrivals...)
	entries, err := s.Audit(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, entries, store.MaxAudit)
	for i, e := range entries {
		require.Equal(t, i+6, e.Run)
	}
	_, err = s.Audit(t.Context(), task.NewID())
	require.ErrorIs(t, err, store.ErrNotFound)
}
