package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
)

// audit reads the first page of what was done.
func (w *world) audit(t *testing.T, filter string) []*deadletterv1.AuditEvent {
	t.Helper()
	page, err := w.ListAuditEvents(t.Context(), &deadletterv1.ListAuditEventsRequest{Filter: filter})
	require.NoError(t, err)
	return page.Events
}

// Each call that changes something tells who, from where, why, what and in which trace;
// one that is refused is no event.
func TestCallsAreAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	for method, call := range map[string]func(id, etag string) error{
		"ReplayDeadLetter": func(id, etag string) error {
			_, err := w.ReplayDeadLetter(ctx, &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Etag: etag, Reason: "mended"})
			return err
		},
		"DiscardDeadLetter": func(id, etag string) error {
			_, err := w.DiscardDeadLetter(ctx, &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: id, Etag: etag, Reason: "mended"})
			return err
		},
		"ReviseDeadLetter": func(id, etag string) error {
			r := reviseJSON(id, etag, `{}`)
			r.Reason = "mended"
			_, err := w.ReviseDeadLetter(ctx, r)
			return err
		},
	} {
		id := w.put(t, poison(t))[0]
		filter := `resource = "deadLetters/` + id + `"`
		requireReason(t, call(id, "other"), codes.Aborted, "ETAG_MISMATCH")
		require.Empty(t, w.audit(t, filter), method)
		d := w.full(t, id)
		require.NoError(t, call(id, d.Etag), method)
		require.Error(t, call(id, d.Etag), method)
		events := w.audit(t, filter)
		require.Len(t, events, 1, method)
		e := events[0]
		require.Equal(t, []string{method, "unauthenticated", "mended", "deadLetters/" + id, trace}, []string{e.Method, e.Actor, e.Reason, e.Resource, e.TraceId})
		require.Regexp(t, `^127\.0\.0\.1:\d+$`, e.Peer)
		require.NotNil(t, e.Time)
		require.NotEmpty(t, e.Changes)
		if e.Changes[0].Field == "state" {
			require.Equal(t, "OPEN", e.Changes[0].Before)
			require.NotEqual(t, "OPEN", e.Changes[0].After)
		} else {
			require.Equal(t, []string{"payload_revision", "1", "2"}, []string{e.Changes[0].Field, e.Changes[0].Before, e.Changes[0].After})
		}
	}
	require.Len(t, w.audit(t, `trace_id = "`+trace+`" AND actor = unauthenticated AND reason:mend`), 3)
}

func TestAuditPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	discard := func() {
		t.Helper()
		_, err := w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: w.put(t, arrival(1))[0], Reason: "r"})
		require.NoError(t, err)
	}
	for range 7 {
		discard()
	}
	all := w.audit(t, ``)
	require.Len(t, all, 7)
	for size, pages := range map[int32]int{0: 1, 2: 4, 7: 1, 100_000: 1} {
		r := &deadletterv1.ListAuditEventsRequest{PageSize: size, Filter: `time <= "` + all[0].Time.AsTime().Format(time.RFC3339Nano) + `"`}
		var got []int64
		page := 0
		for {
			out, err := w.ListAuditEvents(t.Context(), r)
			require.NoError(t, err)
			page++
			for _, e := range out.Events {
				got = append(got, e.Sequence)
			}
			if r.PageToken = out.NextPageToken; r.PageToken == "" {
				break
			}
		}
		require.Equal(t, pages, page, size)
		require.Equal(t, sequences(all), got)
	}

	// What comes in meanwhile moves none.
	out, err := w.ListAuditEvents(t.Context(), &deadletterv1.ListAuditEventsRequest{PageSize: 3})
	require.NoError(t, err)
	discard()
	rest, err := w.ListAuditEvents(t.Context(), &deadletterv1.ListAuditEventsRequest{PageSize: 100, PageToken: out.NextPageToken})
	require.NoError(t, err)
	require.Equal(t, sequences(all), append(sequences(out.Events), sequences(rest.Events)...))
}

func sequences(events []*deadletterv1.AuditEvent) (all []int64) {
	for _, e := range events {
		all = append(all, e.Sequence)
	}
	return all
}

func TestAuditErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		_, err := w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: w.put(t, arrival(1))[0], Reason: "r"})
		require.NoError(t, err)
	}
	list := func(filter, token string) (*deadletterv1.ListAuditEventsResponse, error) {
		return w.ListAuditEvents(t.Context(), &deadletterv1.ListAuditEventsRequest{Filter: filter, PageSize: 1, PageToken: token})
	}
	page, err := list(``, "")
	require.NoError(t, err)
	require.NotEmpty(t, page.NextPageToken)
	for _, c := range [][2]string{{`reason = r`, page.NextPageToken}, {``, "x"}, {``, page.NextPageToken + "A"}} {
		_, err = list(c[0], c[1])
		requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	}
	dead, err := w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{PageSize: 1})
	require.NoError(t, err)
	_, err = list(``, dead.NextPageToken)
	requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	_, err = list(`colour = red`, "")
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	require.Equal(t, []string{"filter"}, fieldsOf(err))
	require.NoError(t, w.store.Close())
	_, err = list(``, "")
	requireReason(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
}

func TestListDeadLetterEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	id := w.put(t, poison(t))[0]
	_, err := w.ReviseDeadLetter(t.Context(), reviseJSON(id, w.full(t, id).Etag, `{}`))
	require.NoError(t, err)
	_, err = w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "mended"})
	require.NoError(t, err)
	got, err := w.ListDeadLetterEvents(t.Context(), &deadletterv1.ListDeadLetterEventsRequest{DeadLetterId: id})
	require.NoError(t, err)
	const none, open, inReplay = deadletterv1.DeadLetterState_DEAD_LETTER_STATE_UNSPECIFIED, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_IN_REPLAY
	require.Len(t, got.Events, 3)
	for i, want := range []*deadletterv1.DeadLetterEvent{
		{Action: "ARRIVE", From: none, To: open, Run: 1},
		{Action: "REVISE", From: open, To: open, Run: 1, Reason: "the code is wrong", Actor: "unauthenticated"},
		{Action: "REPLAY", From: open, To: inReplay, Run: 2, Reason: "mended", Actor: "unauthenticated"},
	} {
		e := got.Events[i]
		require.NotNil(t, e.Time)
		require.Equal(t, []any{want.Action, want.From, want.To, want.Run, want.Reason, want.Actor}, []any{e.Action, e.From, e.To, e.Run, e.Reason, e.Actor})
	}
	_, err = w.ListDeadLetterEvents(t.Context(), &deadletterv1.ListDeadLetterEventsRequest{DeadLetterId: "01890a5d-ac96-774b-bcce-b302099a8057"})
	requireReason(t, err, codes.NotFound, "DEAD_LETTER_NOT_FOUND")
}
