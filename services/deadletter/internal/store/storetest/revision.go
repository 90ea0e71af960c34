package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var revisionRules = map[string]func(*testing.T, store.Store){
	"Revise/makes the next one, and keeps the original":   revises,
	"Revise/is seen by who watches":                       revisesVisibly,
	"Revise/refuses, and changes nothing":                 refusesToRevise,
	"Revise/one of those who race wins":                   oneRevises,
	"Revise/has a bound":                                  boundsRevisions,
	"Revise/of empty payloads":                            revisesEmpty,
	"Revisions/stay when the task dies again":             keepsRevisions,
	"Revisions/of a full dead letter are bounded":         boundsRevisionBytes,
	"Payload/of what nobody has revised is the message's": readsOriginal,
}

// call is one by an operator.
func call(method string) store.Call {
	return store.Call{
		Method: method, Actor: "CN=ann", Peer: "192.0.2.1:5", Reason: "mended <&> ü",
		Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
}

func revise(t test, s store.Store, id string, payload []byte) store.Revision {
	t.Helper()
	d, made, err := s.Revise(t.Context(), store.ReviseRequest{
		ID: id, Etag: get(t, s, id).Etag, Payload: payload, Diff: fmt.Sprintf("-\n+%x\n", payload[:min(len(payload), 9)]), By: call("ReviseDeadLetter"),
	})
	require.NoError(t, err)
	require.Equal(t, basic(get(t, s, id)), d)
	require.Equal(t, d.Revision, made.Number)
	return made
}

// original is revision 1 of a payload.
func original(payload []byte) store.Revision { return store.NewRevision(1, payload, "", store.Call{}) }

func requirePayload(t test, s store.Store, sequence int64, revision int, want []byte) {
	t.Helper()
	got, ok, err := s.Payload(t.Context(), sequence, revision)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, want, got)
	r, ok, err := s.Revision(t.Context(), sequence, revision)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, want, r.Payload)
	require.EqualValues(t, len(want), r.Size)
	require.False(t, r.Omitted)
	if revision != 0 {
		require.Equal(t, revision, r.Number)
	}
}

func requireNoPayload(t test, s store.Store, sequence int64, revisions ...int) {
	t.Helper()
	for _, revision := range revisions {
		_, ok, err := s.Payload(t.Context(), sequence, revision)
		require.NoError(t, err)
		require.False(t, ok, revision)
		r, ok, err := s.Revision(t.Context(), sequence, revision)
		require.NoError(t, err)
		require.False(t, ok, revision)
		require.Zero(t, r)
	}
}

func revises(t *testing.T, s store.Store) {
	a, other := arrival(task.NewID(), 1), arrival(task.NewID(), 1)
	put(t, s, a, other)
	was := get(t, s, a.ID)
	second := revise(t, s, a.ID, []byte("second"))
	third := revise(t, s, a.ID, []byte{0, 255})
	digest := sha256.Sum256([]byte("second"))
	require.Equal(t, store.Revision{
		Number: 2, Time: second.Time, Actor: "CN=ann", Reason: "mended <&> ü", Size: 6, SHA256: digest[:], Diff: "-\n+7365636f6e64\n", Payload: []byte("second"),
	}, second)
	require.False(t, second.Time.IsZero())

	got := get(t, s, a.ID)
	require.Equal(t, []store.Revision{original(a.Message.Body), second, third}, got.Revisions)
	require.Equal(t, 3, got.Revision)
	require.Equal(t, was.Message, got.Message, "it is not touched")
	require.Equal(t, []any{was.State, was.UpdateTime, was.OperatorReason, was.PayloadSize}, []any{got.State, got.UpdateTime, got.OperatorReason, got.PayloadSize})
	for revision, want := range map[int][]byte{0: {0, 255}, 1: a.Message.Body, 2: []byte("second"), 3: {0, 255}} {
		requirePayload(t, s, got.Sequence, revision, want)
	}
	requireNoPayload(t, s, got.Sequence, -1, 4, 1<<40)
	require.Nil(t, get(t, s, other.ID).Revisions)
	require.Equal(t, 1, get(t, s, other.ID).Revision)

	entries, err := s.Audit(t.Context(), a.ID)
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, store.AuditEntry{
		Sequence: last.Sequence, DeadLetterID: a.ID, Time: third.Time, Action: store.ActionRevise, From: was.State, To: was.State, Run: 1,
		Reason: "mended <&> ü", Actor: "CN=ann",
	}, last)
	events := auditEvents(t, s, ``)
	require.Len(t, events, 2)
	require.Equal(t, []store.AuditChange{
		{Field: "payload_revision", Before: "2", After: "3"},
		{Field: "payload_sha256", Before: hex.EncodeToString(second.SHA256), After: hex.EncodeToString(third.SHA256)},
	}, events[0].Changes)
	require.Equal(t, hex.EncodeToString(original(a.Message.Body).SHA256), events[1].Changes[1].Before)
}

func revisesVisibly(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1), arrival(task.NewID(), 1))
	last, err := s.LatestChange(t.Context())
	require.NoError(t, err)
	was := get(t, s, id)
	revise(t, s, id, []byte("x"))
	page, err := s.Changes(t.Context(), last, nil, 10, true)
	require.NoError(t, err)
	require.Equal(t, []store.DeadLetter{get(t, s, id)}, page.DeadLetters)
	require.NotEqual(t, was.Etag, page.DeadLetters[0].Etag)
	_, err = s.Discard(t.Context(), store.DiscardRequest{ID: id, Etag: was.Etag})
	require.ErrorIs(t, err, store.ErrEtag)
}

func refusesToRevise(t *testing.T, s store.Store) {
	open, replayed, discarded, resolved, stray := task.NewID(), task.NewID(), task.NewID(), task.NewID(), foreign(task.NewID())
	put(t, s, arrival(open, 1), arrival(replayed, 1), arrival(discarded, 1), arrival(resolved, 1), stray)
	replay(t, s, replayed, 2)
	discard(t, s, discarded)
	resolveNow(t, s, resolved)
	notOpen := func(state store.State) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var e *store.NotOpenError
			require.ErrorAs(t, err, &e)
			require.Equal(t, state, e.State)
		}
	}
	is := func(want error) func(*testing.T, error) {
		return func(t *testing.T, err error) { require.ErrorIs(t, err, want) }
	}
	events := auditEvents(t, s, ``)
	for _, c := range []struct {
		id, etag string
		want     func(*testing.T, error)
	}{
		{task.NewID(), "1", is(store.ErrNotFound)},
		{"x", "1", is(store.ErrNotFound)},
		{stray.ID, "wrong", is(store.ErrNotReplayable)},
		{replayed, "wrong", notOpen(store.StateInReplay)},
		{discarded, get(t, s, discarded).Etag, notOpen(store.StateDiscarded)},
		{resolved, get(t, s, resolved).Etag, notOpen(store.StateResolved)},
		{open, "", is(store.ErrEtag)},
		{open, "wrong", is(store.ErrEtag)},
	} {
		was, _ := s.Get(t.Context(), c.id, true)
		_, _, err := s.Revise(t.Context(), store.ReviseRequest{ID: c.id, Etag: c.etag, Payload: []byte("x"), By: call("ReviseDeadLetter")})
		c.want(t, err)
		require.NotErrorIs(t, err, store.ErrUnavailable)
		if was.ID != "" {
			require.Equal(t, was, get(t, s, c.id))
		}
	}
	require.Equal(t, events, auditEvents(t, s, ``))
}

func oneRevises(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	etag := get(t, s, id).Etag
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for i := range cap(results) {
		wg.Go(func() {
			_, _, err := s.Revise(t.Context(), store.ReviseRequest{ID: id, Etag: etag, Payload: []byte{byte(i)}, By: call("ReviseDeadLetter")})
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, store.ErrEtag)
	}
	require.Equal(t, 1, won)
	require.Len(t, get(t, s, id).Revisions, 2)
	require.Len(t, auditEvents(t, s, ``), 1)
}

func boundsRevisions(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	for i := range store.MaxRevisions - 1 {
		require.Equal(t, i+2, revise(t, s, id, []byte{byte(i)}).Number)
	}
	was := get(t, s, id)
	_, _, err := s.Revise(t.Context(), store.ReviseRequest{ID: id, Etag: was.Etag, Payload: []byte("x"), By: call("ReviseDeadLetter")})
	require.ErrorIs(t, err, store.ErrRevisions)
	require.Equal(t, was, get(t, s, id))
	require.Len(t, was.Revisions, store.MaxRevisions)
}

func revisesEmpty(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	a.Message.Body = nil
	put(t, s, a)
	sequence := get(t, s, a.ID).Sequence
	requirePayload(t, s, sequence, 0, nil)
	revise(t, s, a.ID, []byte("x"))
	requirePayload(t, s, sequence, 1, nil)
	requirePayload(t, s, sequence, 0, []byte("x"))
	empty := revise(t, s, a.ID, []byte{})
	require.Zero(t, empty.Size)
	requirePayload(t, s, sequence, 0, nil)
	requirePayload(t, s, sequence, 3, nil)
}

// keepsRevisions: what ran is the message's body; the first payload stays the original.
func keepsRevisions(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	put(t, s, a)
	second := revise(t, s, a.ID, []byte("second"))
	d, _ := replay(t, s, a.ID, 2)
	require.Equal(t, 2, d.Revision)
	requirePayload(t, s, d.Sequence, 0, []byte("second"))

	again := arrival(a.ID, 2)
	again.Message.Body = []byte("second")
	put(t, s, again)
	got := get(t, s, a.ID)
	require.Equal(t, []byte("second"), got.Message.Body)
	require.Equal(t, []store.Revision{original(a.Message.Body), second}, got.Revisions)
	requirePayload(t, s, d.Sequence, 1, a.Message.Body)

	third := revise(t, s, a.ID, []byte("third"))
	require.Equal(t, []store.Revision{original(a.Message.Body), second, third}, get(t, s, a.ID).Revisions)
	discard(t, s, a.ID)
	require.Len(t, get(t, s, a.ID).Revisions, 3)
}

func boundsRevisionBytes(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	const half = store.MaxRevisionBytes / 2
	payloads := [][]byte{bytes.Repeat([]byte("a"), half), bytes.Repeat([]byte("b"), half), bytes.Repeat([]byte("c"), half-10), []byte("d")}
	var made []store.Revision
	for _, p := range payloads {
		made = append(made, revise(t, s, id, p))
	}
	d := get(t, s, id)
	for i, omitted := range made[:2] {
		omitted.Payload, omitted.Diff, omitted.Omitted = nil, "", true
		requireRevision(t, omitted, d.Revisions[i+1])
	}
	require.True(t, d.Revisions[0].Omitted, "it comes before them, however small it is")
	requireRevision(t, made[2], d.Revisions[3])
	requireRevision(t, made[3], d.Revisions[4])
	r, _, err := s.Revision(t.Context(), d.Sequence, 3)
	require.NoError(t, err)
	requireRevision(t, made[1], r)

	large := revise(t, s, id, make([]byte, store.MaxPageBytes+1))
	d = get(t, s, id)
	requireRevision(t, large, d.Revisions[5]) // the last one is there in any case
	require.True(t, d.Revisions[4].Omitted)
	put(t, s, arrival(task.NewID(), 1))
	page, err := s.List(t.Context(), store.Query{Limit: 10, Full: true, OldestFirst: true})
	require.NoError(t, err)
	require.Len(t, page.DeadLetters, 1, "a page counts them")
	require.True(t, page.More)
}

// requireRevision compares large ones, and shows no payload.
func requireRevision(t test, want, got store.Revision) {
	t.Helper()
	require.True(t, bytes.Equal(want.Payload, got.Payload), "of %d and %d bytes", len(want.Payload), len(got.Payload))
	want.Payload, got.Payload = nil, nil
	require.Equal(t, want, got)
}

func readsOriginal(t *testing.T, s store.Store) {
	a, stray := arrival(task.NewID(), 1), foreign(task.NewID())
	put(t, s, a, stray)
	d := get(t, s, a.ID)
	require.Nil(t, d.Revisions)
	for _, revision := range []int{0, 1} {
		requirePayload(t, s, d.Sequence, revision, a.Message.Body)
	}
	requirePayload(t, s, get(t, s, stray.ID).Sequence, 0, stray.Message.Body)
	requireNoPayload(t, s, d.Sequence, -1, 2)
	requireNoPayload(t, s, 1<<40, 0, 1, 2)
}
