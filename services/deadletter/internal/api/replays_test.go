package api_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func idSelector(ids ...string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Ids{Ids: &deadletterv1.DeadLetterIds{DeadLetterIds: ids}}}
}

func filterSelector(filter string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: filter}}
}

func tokenSelector(token string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Token{Token: token}}
}

// byHand is a world whose replays are driven by the test, and so many dead letters.
func byHand(t *testing.T, n int) (*world, []string) {
	t.Helper()
	w := newWorld(t)
	w.replayer.byHand = true
	var arrivals []store.Arrival
	for i := range n {
		arrivals = append(arrivals, arrival(i))
	}
	return w, w.put(t, arrivals...)
}

func (w *world) create(t *testing.T, r *deadletterv1.CreateReplayRequest) *deadletterv1.Replay {
	t.Helper()
	out, err := w.CreateReplay(t.Context(), r)
	require.NoError(t, err)
	return out.Replay
}

func (w *world) drive(t *testing.T, id string, n int) {
	t.Helper()
	made, err := w.store.Replay(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, w.replayer.drive(t.Context(), made, n))
	w.hub.Wake()
}

func TestPreviewFreezesAndCreateTakesExactlyThat(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 50)
	odd := w.put(t, foreign())[0]
	missing := task.NewID()
	out, err := w.PreviewReplay(t.Context(), &deadletterv1.PreviewReplayRequest{Selector: filterSelector(`state = "OPEN"`), SampleSize: 17})
	require.NoError(t, err)
	set := out.Selection
	require.EqualValues(t, 51, set.Count)
	require.Len(t, set.Sample, 17)
	require.Equal(t, ids[0], set.Sample[0].DeadLetterId)
	require.Equal(t, ids[3], set.Sample[1].DeadLetterId, "taken evenly")
	require.Equal(t, deadletterv1.Verdict_VERDICT_READY, set.Sample[0].Verdict)
	require.Equal(t, "acme.v1.Images.Resize", set.ByType[0].Value)

	// What comes in later is not in it; what has changed is passed over.
	w.put(t, arrival(99))
	_, err = w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: ids[1], Reason: "no"})
	require.NoError(t, err)
	r := w.create(t, &deadletterv1.CreateReplayRequest{Selector: tokenSelector(set.Token), Reason: "mended"})
	require.Equal(t, set.Digest, r.Digest)
	require.EqualValues(t, 51, r.Counts.Total)
	require.True(t, proto.Equal(tokenSelector(set.Token), r.Selector))
	w.drive(t, r.ReplayId, 100)
	items, err := w.ListReplayItems(t.Context(), &deadletterv1.ListReplayItemsRequest{
		ReplayId: r.ReplayId, States: []deadletterv1.ReplayItemState{deadletterv1.ReplayItemState_REPLAY_ITEM_STATE_SKIPPED},
	})
	require.NoError(t, err)
	require.Len(t, items.Items, 2)
	require.Equal(t, []string{ids[1], odd}, []string{items.Items[0].DeadLetterId, items.Items[1].DeadLetterId})
	require.Equal(t, deadletterv1.Verdict_VERDICT_NO_TASK, items.Items[1].Verdict)

	small, err := w.PreviewReplay(t.Context(), &deadletterv1.PreviewReplayRequest{Selector: idSelector(odd, missing)})
	require.NoError(t, err)
	require.Equal(t, []string{missing}, small.Selection.MissingIds)
	require.Equal(t, deadletterv1.Verdict_VERDICT_NO_TASK, small.Selection.Sample[0].Verdict)
	_, err = w.PreviewReplay(t.Context(), &deadletterv1.PreviewReplayRequest{Selector: tokenSelector("none")})
	requireReason(t, err, codes.NotFound, "SELECTION_NOT_FOUND")
	_, err = w.PreviewReplay(t.Context(), &deadletterv1.PreviewReplayRequest{Selector: filterSelector("colour = 1")})
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
}

func TestCreateReplay(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 3)
	plan := &deadletterv1.ReplayPlan{
		MaxPerSecond: 10, MaxInFlight: 5, Canary: 1, AbortRatio: 0.25, Delay: durationpb.New(time.Hour), MaxAttempts: 2,
		Expiry: deadletterv1.ExpiryMode_EXPIRY_MODE_RENEWED, PayloadRevision: 1,
	}
	request := &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Plan: plan, Reason: "mended", RequestId: "r-1", ValidateOnly: true}
	would := w.create(t, request)
	require.Empty(t, would.ReplayId)
	require.EqualValues(t, 3, would.Counts.Pending)
	listed, err := w.ListReplays(t.Context(), &deadletterv1.ListReplaysRequest{})
	require.NoError(t, err)
	require.Empty(t, listed.Replays)

	request.ValidateOnly = false
	r := w.create(t, request)
	require.NotEmpty(t, r.ReplayId)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_PENDING, r.State)
	require.True(t, proto.Equal(plan, r.Plan), "%v", r.Plan)
	require.Equal(t, []string{"mended", "unauthenticated"}, []string{r.Reason, r.Actor})
	require.True(t, proto.Equal(r, w.create(t, request)), "the same request has the first answer")
	request.Reason = "other"
	_, err = w.CreateReplay(t.Context(), request)
	require.Equal(t, r.ReplayId, requireReason(t, err, codes.AlreadyExists, "REQUEST_ID_CONFLICT").Metadata["replay_id"])
	plain := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Reason: "r"})
	require.EqualValues(t, 1000, plain.Plan.MaxInFlight, "the default")

	_, err = w.CreateReplay(t.Context(), &deadletterv1.CreateReplayRequest{Selector: filterSelector(`type = "none"`), Reason: "r"})
	requireReason(t, err, codes.FailedPrecondition, "SELECTION_EMPTY")
	for _, bad := range []*deadletterv1.CreateReplayRequest{
		{Selector: idSelector(ids...)}, {Reason: "r"}, {Reason: "r", Selector: &deadletterv1.DeadLetterSelector{}},
		{Reason: "r", Selector: idSelector("x")}, {Reason: "r", Selector: idSelector(ids...), Plan: &deadletterv1.ReplayPlan{AbortRatio: 2}},
	} {
		_, err = w.CreateReplay(t.Context(), bad)
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
}

func TestReplaysAreListedAndSteered(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 5)
	var made []string
	for range 3 {
		made = append(made, w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Reason: "r"}).ReplayId)
	}
	page, err := w.ListReplays(t.Context(), &deadletterv1.ListReplaysRequest{PageSize: 2, Filter: `state = "RUNNING"`})
	require.NoError(t, err)
	require.Equal(t, []string{made[2], made[1]}, []string{page.Replays[0].ReplayId, page.Replays[1].ReplayId})
	_, err = w.ListReplays(t.Context(), &deadletterv1.ListReplaysRequest{PageToken: page.NextPageToken})
	requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	page, err = w.ListReplays(t.Context(), &deadletterv1.ListReplaysRequest{PageSize: 2, Filter: `state = "RUNNING"`, PageToken: page.NextPageToken})
	require.NoError(t, err)
	require.Len(t, page.Replays, 1)
	require.Empty(t, page.NextPageToken)
	_, err = w.ListReplays(t.Context(), &deadletterv1.ListReplaysRequest{Filter: "total = 1"})
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")

	id := made[0]
	paused, err := w.PauseReplay(t.Context(), &deadletterv1.PauseReplayRequest{ReplayId: id, Reason: "lunch"})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_PAUSED, paused.Replay.State)
	require.Equal(t, "lunch", paused.Replay.StateReason)
	update := &deadletterv1.UpdateReplayRequest{
		ReplayId: id, Plan: &deadletterv1.ReplayPlan{MaxPerSecond: 7, MaxInFlight: 9}, Reason: "r", Etag: "other",
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_per_second"}},
	}
	_, err = w.UpdateReplay(t.Context(), update)
	requireReason(t, err, codes.Aborted, "ETAG_MISMATCH")
	update.Etag = paused.Replay.Etag
	updated, err := w.UpdateReplay(t.Context(), update)
	require.NoError(t, err)
	require.EqualValues(t, 7, updated.Replay.Plan.MaxPerSecond)
	require.EqualValues(t, 1000, updated.Replay.Plan.MaxInFlight, "it is not in the mask")
	for _, paths := range [][]string{nil, {"canary"}} {
		update.UpdateMask.Paths, update.Etag = paths, ""
		_, err = w.UpdateReplay(t.Context(), update)
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
	resumed, err := w.ResumeReplay(t.Context(), &deadletterv1.ResumeReplayRequest{ReplayId: id, Reason: "back"})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.ReplayState_REPLAY_STATE_RUNNING, resumed.Replay.State)
	cancelled, err := w.CancelReplay(t.Context(), &deadletterv1.CancelReplayRequest{ReplayId: id, Reason: "enough"})
	require.NoError(t, err)
	require.NotNil(t, cancelled.Replay.EndTime)
	_, err = w.PauseReplay(t.Context(), &deadletterv1.PauseReplayRequest{ReplayId: id, Reason: "r"})
	require.Equal(t, "CANCELLED", requireReason(t, err, codes.FailedPrecondition, "REPLAY_ENDED").Metadata["state"])
	for _, none := range []func(string) error{
		func(id string) error {
			_, err := w.GetReplay(t.Context(), &deadletterv1.GetReplayRequest{ReplayId: id})
			return err
		},
		func(id string) error {
			_, err := w.ListReplayItems(t.Context(), &deadletterv1.ListReplayItemsRequest{ReplayId: id})
			return err
		},
		func(id string) error {
			_, err := w.CancelReplay(t.Context(), &deadletterv1.CancelReplayRequest{ReplayId: id, Reason: "r"})
			return err
		},
		func(id string) error {
			watch, err := w.WatchReplay(t.Context(), &deadletterv1.WatchReplayRequest{ReplayId: id})
			require.NoError(t, err)
			_, err = watch.Recv()
			return err
		},
	} {
		requireReason(t, none(task.NewID()), codes.NotFound, "REPLAY_NOT_FOUND")
		requireReason(t, none("x"), codes.InvalidArgument, "INVALID_REQUEST")
	}
	events, err := w.store.AuditEvents(t.Context(), nil, 0, 100)
	require.NoError(t, err)
	var methods []string
	for _, e := range events {
		methods = append(methods, e.By.Method)
		require.True(t, strings.HasPrefix(e.Resource, "replays/"))
	}
	require.Equal(t, []string{"CancelReplay", "ResumeReplay", "UpdateReplay", "PauseReplay", "CreateReplay", "CreateReplay", "CreateReplay"}, methods)
}

func TestItemsArePaged(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 7)
	id := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Reason: "r"}).ReplayId
	w.drive(t, id, 3)
	var got []string
	for token := ""; ; {
		page, err := w.ListReplayItems(t.Context(), &deadletterv1.ListReplayItemsRequest{ReplayId: id, PageSize: 2, PageToken: token})
		require.NoError(t, err)
		for _, i := range page.Items {
			got = append(got, i.DeadLetterId)
			if len(got) <= 3 {
				require.Equal(t, []int32{2, 1}, []int32{i.Run, i.PayloadRevision})
				require.NotNil(t, i.BeginTime)
				continue
			}
			require.Equal(t, deadletterv1.ReplayItemState_REPLAY_ITEM_STATE_PENDING, i.State)
		}
		if token = page.NextPageToken; token == "" {
			break
		}
		_, err = w.ListReplayItems(t.Context(), &deadletterv1.ListReplayItemsRequest{
			ReplayId: id, PageToken: token, States: []deadletterv1.ReplayItemState{deadletterv1.ReplayItemState_REPLAY_ITEM_STATE_PENDING},
		})
		requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	}
	require.Equal(t, ids, got)
}

func TestWatchReplayEndsWithTheLastOne(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 2)
	id := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Reason: "r"}).ReplayId
	watch, err := w.WatchReplay(t.Context(), &deadletterv1.WatchReplayRequest{ReplayId: id})
	require.NoError(t, err)
	first, err := watch.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 2, first.Replay.Counts.Pending)
	w.drive(t, id, 2)
	for i, dead := range ids {
		_, err := w.store.Resolve(t.Context(), dead, 2, store.OutcomeSucceeded)
		require.NoError(t, err, i)
	}
	w.hub.Wake()
	var last *deadletterv1.Replay
	for {
		m, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.False(t, proto.Equal(last, m.Replay), "what is shown has changed")
		last = m.Replay
	}
	require.NotNil(t, last.EndTime)
	require.EqualValues(t, 2, last.Counts.Succeeded)

	other := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(w.put(t, arrival(1))...), Reason: "r"}).ReplayId
	watch, err = w.WatchReplay(t.Context(), &deadletterv1.WatchReplayRequest{ReplayId: other})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	w.service.Stop()
	_, err = watch.Recv()
	requireReason(t, err, codes.Unavailable, "SHUTTING_DOWN")
}

func TestWhoHoldsADeadLetter(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 2)
	id := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids[0]), Reason: "r"}).ReplayId
	w.drive(t, id, 1)
	_, err := w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: ids[0], Reason: "r"})
	held := requireReason(t, err, codes.Aborted, "DEAD_LETTER_IN_REPLAY").Metadata
	require.Equal(t, []string{"unauthenticated", id}, []string{held["actor"], held["replay_id"]})
	_, err = time.Parse(time.RFC3339Nano, held["since"])
	require.NoError(t, err)
	_, err = w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: ids[0], Reason: "r"})
	requireReason(t, err, codes.Aborted, "DEAD_LETTER_IN_REPLAY")
	_, err = w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: ids[1], Reason: "r"})
	require.NoError(t, err)
	_, err = w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: ids[1], Reason: "r"})
	require.Empty(t, requireReason(t, err, codes.Aborted, "DEAD_LETTER_IN_REPLAY").Metadata["replay_id"], "a single call's")
	second := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Reason: "r"})
	w.drive(t, second.ReplayId, 2)
	items, err := w.ListReplayItems(t.Context(), &deadletterv1.ListReplayItemsRequest{ReplayId: second.ReplayId})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.Verdict_VERDICT_IN_REPLAY, items.Items[0].Verdict)
	require.Contains(t, items.Items[0].Message, id)
}

func TestReopenDeadLetter(t *testing.T) {
	t.Parallel()
	w, ids := byHand(t, 1)
	reopen := func(etag string, force bool) (*deadletterv1.ReopenDeadLetterResponse, error) {
		return w.ReopenDeadLetter(t.Context(), &deadletterv1.ReopenDeadLetterRequest{DeadLetterId: ids[0], Etag: etag, Force: force, Reason: "lost"})
	}
	_, err := reopen("", true)
	require.Equal(t, "OPEN", requireReason(t, err, codes.FailedPrecondition, "DEAD_LETTER_NOT_OPEN").Metadata["state"])
	id := w.create(t, &deadletterv1.CreateReplayRequest{Selector: idSelector(ids...), Reason: "r"}).ReplayId
	w.drive(t, id, 1)
	_, err = reopen("", false)
	overdue := requireReason(t, err, codes.FailedPrecondition, "OUTCOME_NOT_OVERDUE").Metadata["overdue_time"]
	at, err := time.Parse(time.RFC3339Nano, overdue)
	require.NoError(t, err)
	require.True(t, at.After(time.Now()))
	_, err = reopen("other", true)
	requireReason(t, err, codes.Aborted, "ETAG_MISMATCH")
	out, err := reopen("", true)
	require.NoError(t, err)
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN, out.DeadLetter.State)
	require.Equal(t, "lost", out.DeadLetter.OperatorReason)
	r, err := w.GetReplay(t.Context(), &deadletterv1.GetReplayRequest{ReplayId: id})
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Replay.Counts.Unknown)
	events, err := w.store.AuditEvents(t.Context(), nil, 0, 1)
	require.NoError(t, err)
	require.Equal(t, "ReopenDeadLetter", events[0].By.Method)
}

// Which items the plain form tells of, and how.
func TestReplayDeadLettersTellsOfWhatItSkips(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, arrival(1), arrival(2))
	w.replayer.script[ids[1]] = fmt.Errorf("%w: its run 3 is RUNNING", replay.ErrAlive)
	out, err := w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{Filter: `state = "OPEN"`, Reason: "r"})
	require.NoError(t, err)
	require.Len(t, out.Problems, 1)
	require.Equal(t, "DEAD_LETTER_IN_REPLAY", out.Problems[0].Reason)
	r, err := w.GetReplay(t.Context(), &deadletterv1.GetReplayRequest{ReplayId: out.ReplayId})
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Replay.Counts.InFlight)
	require.Equal(t, `state = "OPEN"`, r.Replay.Selector.GetFilter())
	none, err := w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{Filter: `type = "none"`, Reason: "r"})
	require.NoError(t, err)
	require.Empty(t, none.ReplayId)
}
