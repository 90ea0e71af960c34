package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/api"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func byIDs(ids ...string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Ids{Ids: &deadletterv1.DeadLetterIds{DeadLetterIds: ids}}}
}

func byFilter(filter string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: filter}}
}

func byToken(token string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Token{Token: token}}
}

func many(n int) []store.Arrival {
	arrivals := make([]store.Arrival, n)
	for i := range arrivals {
		arrivals[i] = arrival(i)
	}
	return arrivals
}

func (w *world) discardAll(t *testing.T, x *deadletterv1.DeadLetterSelector) *deadletterv1.DiscardDeadLettersResponse {
	t.Helper()
	out, err := w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{Selector: x, Reason: "of no use"})
	require.NoError(t, err)
	return out
}

func (w *world) hold(t *testing.T, hold bool, ids ...string) *deadletterv1.HoldDeadLettersResponse {
	t.Helper()
	out, err := w.HoldDeadLetters(t.Context(), &deadletterv1.HoldDeadLettersRequest{Selector: byIDs(ids...), Hold: hold, Reason: "evidence"})
	require.NoError(t, err)
	return out
}

func (w *world) get(t *testing.T, id string) *deadletterv1.DeadLetter {
	t.Helper()
	got, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full})
	require.NoError(t, err)
	return got.DeadLetter
}

func requireAudit(t *testing.T, w *world, method, resource string, changes ...store.AuditChange) {
	t.Helper()
	events, err := w.store.AuditEvents(t.Context(), nil, 0, 1)
	require.NoError(t, err)
	require.Equal(t, []string{method, resource, "unauthenticated"}, []string{events[0].By.Method, events[0].Resource, events[0].By.Actor})
	require.NotEmpty(t, events[0].By.Peer)
	var about []string
	rest := slices.DeleteFunc(slices.Clone(events[0].Changes), func(c store.AuditChange) bool {
		is := slices.Contains([]string{"digest", "selected", "dead_letter_ids"}, c.Field)
		if is {
			about = append(about, c.Field)
			require.NotEmpty(t, c.After)
		}
		return is
	})
	require.Equal(t, changes, rest)
	if !strings.HasPrefix(resource, store.ResourcePolicy) {
		require.Subset(t, about, []string{"digest", "selected"}, "what it was about")
	}
}

func TestDiscardAndRestoreMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, many(store.MaxBulk+20)...)
	w.hold(t, true, ids[7])
	out := w.discardAll(t, byFilter(`type = "acme.*"`))
	require.EqualValues(t, []int64{520, 519, 1}, []int64{out.Matched, out.Discarded, out.Skipped})
	require.Len(t, out.Problems, 1)
	require.Equal(t, ids[7], out.Problems[0].DeadLetterId)
	require.Equal(t, deadletterv1.Verdict_VERDICT_HELD, out.Problems[0].Verdict)
	require.NotEmpty(t, out.Problems[0].Message)
	requireAudit(t, w, "DiscardDeadLetters", "deadLetters/-", store.AuditChange{Field: "filter", After: `type = "acme.*"`},
		store.AuditChange{Field: "changed", After: "519"}, store.AuditChange{Field: "skipped", After: "1"})
	d := w.get(t, ids[519])
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_DISCARDED, d.State)
	require.Equal(t, "of no use", d.OperatorReason)

	gone := task.NewID()
	restored, err := w.RestoreDeadLetters(t.Context(), &deadletterv1.RestoreDeadLettersRequest{
		Selector: byIDs(ids[0], ids[7], gone, ids[0], ids[1]), Reason: "needed after all",
	})
	require.NoError(t, err)
	require.EqualValues(t, []int64{4, 2, 2}, []int64{restored.Matched, restored.Restored, restored.Skipped})
	verdicts := map[string]deadletterv1.Verdict{}
	for _, p := range restored.Problems {
		verdicts[p.DeadLetterId] = p.Verdict
	}
	require.Equal(t, map[string]deadletterv1.Verdict{
		gone: deadletterv1.Verdict_VERDICT_NOT_FOUND, ids[7]: deadletterv1.Verdict_VERDICT_WRONG_STATE,
	}, verdicts)
	requireAudit(t, w, "RestoreDeadLetters", "deadLetters/-",
		store.AuditChange{Field: "changed", After: "2"}, store.AuditChange{Field: "skipped", After: "2"})
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN, w.get(t, ids[0]).State)
}

func TestPreviewedDeadLettersAreChangedAsTheyWere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, many(100)...)
	w.hold(t, true, ids[0])
	preview, err := w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{
		Selector: byFilter(`state = "OPEN"`), Reason: "r", ValidateOnly: true, SampleSize: 10,
	})
	require.NoError(t, err)
	x := preview.Selection
	require.EqualValues(t, []int64{100, 100, 0}, []int64{preview.Matched, x.Count, preview.Discarded})
	require.Len(t, x.Digest, 64)
	require.Equal(t, "acme.v1.Images.Resize", x.ByType[0].Value)
	require.EqualValues(t, 100, x.ByCause[0].Count)
	require.Len(t, x.Sample, 10)
	for i, v := range x.Sample {
		want := deadletterv1.Verdict_VERDICT_READY
		if i == 0 {
			want = deadletterv1.Verdict_VERDICT_HELD
		}
		require.Equal(t, ids[10*i], v.DeadLetterId, "taken evenly")
		require.Equal(t, want, v.Verdict)
	}
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN, w.get(t, ids[5]).State)

	_, err = w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: ids[1], Reason: "r"})
	require.NoError(t, err)
	w.hold(t, true, ids[2])
	w.hold(t, false, ids[2])
	w.put(t, many(3)...)
	out := w.discardAll(t, byToken(x.Token))
	require.EqualValues(t, []int64{100, 97, 3}, []int64{out.Matched, out.Discarded, out.Skipped})
	verdicts := make([]string, len(out.Problems))
	for i, p := range out.Problems {
		verdicts[i] = p.Verdict.String()
	}
	require.Equal(t, []string{"VERDICT_HELD", "VERDICT_IN_REPLAY", "VERDICT_CHANGED"}, verdicts)
	requireAudit(t, w, "DiscardDeadLetters", "selections/"+x.Token,
		store.AuditChange{Field: "changed", After: "97"}, store.AuditChange{Field: "skipped", After: "3"})

	_, err = w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{Selector: byToken(task.NewID()), Reason: "r"})
	requireReason(t, err, codes.NotFound, "SELECTION_NOT_FOUND")
	_, err = w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{Selector: byFilter("colour = 1"), Reason: "r"})
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	_, err = w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{Selector: byFilter(`state = "OPEN"`)})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	_, err = w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{Reason: "r"})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestPurgeAsksForItsCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, many(12)...)
	w.discardAll(t, byIDs(ids[:10]...))
	w.hold(t, true, ids[0])
	purge := func(x *deadletterv1.DeadLetterSelector, expect int64) (*deadletterv1.PurgeDeadLettersResponse, error) {
		return w.PurgeDeadLetters(t.Context(), &deadletterv1.PurgeDeadLettersRequest{Selector: x, ExpectedCount: expect, Reason: "the law"})
	}
	preview, err := w.PurgeDeadLetters(t.Context(), &deadletterv1.PurgeDeadLettersRequest{Selector: byFilter(`type = "acme.*"`), ValidateOnly: true, Reason: "r"})
	require.NoError(t, err)
	require.EqualValues(t, 10, preview.Selection.Count)
	for _, wrong := range []int64{0, 8, 10, 12} {
		_, err = purge(byToken(preview.Selection.Token), wrong)
		require.Equal(t, "9", requireReason(t, err, codes.Aborted, "COUNT_MISMATCH").Metadata["count"])
	}
	n, err := w.store.Count(t.Context(), store.Query{State: store.StatePurged})
	require.NoError(t, err)
	require.Zero(t, n, "nothing was purged")

	out, err := purge(byToken(preview.Selection.Token), 9)
	require.NoError(t, err)
	require.EqualValues(t, []int64{10, 9, 1}, []int64{out.Matched, out.Purged, out.Skipped})
	require.Equal(t, deadletterv1.Verdict_VERDICT_HELD, out.Problems[0].Verdict)
	requireAudit(t, w, "PurgeDeadLetters", "selections/"+preview.Selection.Token,
		store.AuditChange{Field: "changed", After: "9"}, store.AuditChange{Field: "skipped", After: "1"})
	d := w.get(t, ids[1])
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_PURGED, d.State)
	require.Nil(t, d.Message)
	require.Nil(t, d.Payload)
	require.Empty(t, d.Occurrences)
	require.Empty(t, d.Failure.Message)
	require.EqualValues(t, 14, d.Failure.Code)
	require.Equal(t, 90*24*time.Hour, d.PurgeTime.AsTime().Sub(d.UpdateTime.AsTime()))
	out, err = purge(byIDs(ids...), 0)
	require.NoError(t, err)
	require.EqualValues(t, []int64{12, 0, 12}, []int64{out.Matched, out.Purged, out.Skipped})
}

func TestHoldKeepsDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, many(2)...)
	out := w.hold(t, true, ids[0], task.NewID())
	require.EqualValues(t, []int64{2, 1, 1}, []int64{out.Matched, out.Changed, out.Skipped})
	require.Len(t, out.Problems, 1)
	requireAudit(t, w, "HoldDeadLetters", "deadLetters/-", store.AuditChange{Field: "held", After: "true"},
		store.AuditChange{Field: "changed", After: "1"}, store.AuditChange{Field: "skipped", After: "1"})
	out = w.hold(t, true, ids[0])
	require.EqualValues(t, []int64{1, 0, 1}, []int64{out.Matched, out.Changed, out.Skipped})
	require.Empty(t, out.Problems, "it is so already")
	require.True(t, w.get(t, ids[0]).Held)
	_, err := w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: ids[0], Reason: "r"})
	requireReason(t, err, codes.FailedPrecondition, "DEAD_LETTER_HELD")
	_, err = w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: ids[0], Reason: "r"})
	requireReason(t, err, codes.FailedPrecondition, "DEAD_LETTER_HELD")
	require.EqualValues(t, 1, w.hold(t, false, ids[0]).Changed)
	_, err = w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: ids[0], Reason: "r"})
	require.NoError(t, err)
}

// slow has each batch of a change but the first wait for the end of the call's time.
type slow struct {
	api.Store
	batches chan struct{}
}

func (s *slow) ChangeMembers(ctx context.Context, r store.BulkRequest) (store.BulkAnswer, error) {
	select {
	case s.batches <- struct{}{}:
		return s.Store.ChangeMembers(ctx, r)
	default:
		<-ctx.Done()
		return store.BulkAnswer{}, fmt.Errorf("change: %w", ctx.Err())
	}
}

func TestManyAreChangedUntilTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(s store.Store) api.Store { return &slow{Store: s, batches: make(chan struct{}, 1)} })
	w.put(t, many(2*store.MaxBulk)...)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	out, err := w.DiscardDeadLetters(ctx, &deadletterv1.DiscardDeadLettersRequest{Selector: byFilter(`state = "OPEN"`), Reason: "r"})
	require.NoError(t, err, "what was done is told before the caller's deadline")
	require.EqualValues(t, []int64{1000, 500, 0}, []int64{out.Matched, out.Discarded, out.Skipped})
	requireAudit(t, w, "DiscardDeadLetters", "deadLetters/-", store.AuditChange{Field: "filter", After: `state = "OPEN"`},
		store.AuditChange{Field: "changed", After: "500"}, store.AuditChange{Field: "skipped", After: "0"})
}

func TestManyAreNotChangedWithoutAStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(t, many(2)...)
	require.NoError(t, w.store.Close())
	_, err := w.DiscardDeadLetters(t.Context(), &deadletterv1.DiscardDeadLettersRequest{Selector: byFilter(`state = "OPEN"`), Reason: "r"})
	requireReason(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = w.PurgeDeadLetters(t.Context(), &deadletterv1.PurgeDeadLettersRequest{Selector: byFilter(`state = "OPEN"`), ValidateOnly: true, Reason: "r"})
	requireReason(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
}
