package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

const (
	quarantinedState = deadletterv1.DeadLetterState_DEAD_LETTER_STATE_QUARANTINED
	purgedState      = deadletterv1.DeadLetterState_DEAD_LETTER_STATE_PURGED
)

func inState(want deadletterv1.DeadLetterState) func(*deadletterv1.DeadLetter) bool {
	return func(d *deadletterv1.DeadLetter) bool { return d.State == want }
}

// setPolicy sets fields of a policy, once the dead-letter service is up.
func (p *platform) setPolicy(t testing.TB, policy *deadletterv1.DeadLetterPolicy, paths ...string) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.dead.UpdateDeadLetterPolicy(ctx, &deadletterv1.UpdateDeadLetterPolicyRequest{
			Policy: policy, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Reason: "a test",
		})
		if status.Code(err) != codes.Unavailable {
			require.NoError(t, err)
		}
		return err
	})
}

func selectIDs(ids ...string) *deadletterv1.DeadLetterSelector {
	return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Ids{Ids: &deadletterv1.DeadLetterIds{DeadLetterIds: ids}}}
}

// die submits a task that fails for good and waits for its dead letter.
func (p *platform) die(t testing.TB, message string) string {
	t.Helper()
	id := p.submit(t, typeFail, fail(codes.FailedPrecondition, message)).TaskId
	p.deadLetter(t, id, open)
	return id
}

func governed(t *testing.T) *platform {
	t.Helper()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	return p
}

func TestGovernanceQuarantinesAndRestores(t *testing.T) {
	t.Parallel()
	p := governed(t)
	p.setPolicy(t, &deadletterv1.DeadLetterPolicy{TaskType: typeFail, MaxReplays: proto.Int32(1)}, "max_replays")
	id := p.die(t, "a poison pill")
	require.EqualValues(t, 2, p.replay(t, id))
	d := p.deadLetter(t, id, inState(quarantinedState))
	require.EqualValues(t, []int32{1, 2}, []int32{d.ReplayCount, d.OccurrenceCount})
	_, err := p.dead.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "again"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.ErrorContains(t, err, "QUARANTINED")
	requireReason(t, err, "DEAD_LETTER_NOT_OPEN")

	restored, err := p.dead.RestoreDeadLetters(t.Context(), &deadletterv1.RestoreDeadLettersRequest{Selector: selectIDs(id), Reason: "mended"})
	require.NoError(t, err)
	require.EqualValues(t, []int64{1, 1, 0}, []int64{restored.Matched, restored.Restored, restored.Skipped})
	require.Zero(t, p.deadLetter(t, id, open).ReplayCount)
	require.EqualValues(t, 3, p.replay(t, id))
	p.deadLetter(t, id, inState(quarantinedState))
	require.Equal(t, []start{{1, 1}, {2, 1}, {3, 1}}, p.recorder.of(id))
}

func TestGovernanceEndsRetentions(t *testing.T) {
	t.Parallel()
	p := governed(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	held, gone := p.die(t, "evidence"), p.die(t, "of no use")
	watch, err := p.dead.WatchDeadLetters(ctx, &deadletterv1.WatchDeadLettersRequest{Filter: `state = "PURGED"`, View: full})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	hold := func(on bool) {
		out, err := p.dead.HoldDeadLetters(ctx, &deadletterv1.HoldDeadLettersRequest{Selector: selectIDs(held), Hold: on, Reason: "evidence"})
		require.NoError(t, err)
		require.EqualValues(t, 1, out.Changed)
	}
	hold(true)
	p.setPolicy(t, &deadletterv1.DeadLetterPolicy{TaskType: typeFail, OpenRetention: durationpb.New(time.Second)}, "open_retention")
	expired := func(id string) {
		t.Helper()
		news, err := watch.Recv()
		require.NoError(t, err)
		d := news.DeadLetter
		require.Equal(t, id, d.DeadLetterId)
		require.Equal(t, purgedState, d.State)
		require.Nil(t, d.Message)
		require.Nil(t, d.Payload)
		require.Empty(t, d.Occurrences)
		require.Empty(t, d.Failure.GetMessage())
		require.True(t, proto.Equal(d, p.deadLetter(t, id, inState(purgedState))))
	}
	expired(gone)
	kept := p.deadLetter(t, held, open)
	require.True(t, kept.Held)
	require.Nil(t, kept.PurgeTime)
	require.NotNil(t, kept.Message)
	_, err = p.dead.DiscardDeadLetter(ctx, &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: held, Reason: "of no use"})
	requireReason(t, err, "DEAD_LETTER_HELD")

	hold(false)
	expired(held)
	p.setPolicy(t, &deadletterv1.DeadLetterPolicy{TaskType: typeFail, TombstoneRetention: durationpb.New(time.Second)}, "tombstone_retention")
	brokertest.Eventually(t, 40*time.Second, func() bool { return len(p.list(t, "")) == 0 })
}

func TestGovernancePurgeAsksForItsCount(t *testing.T) {
	t.Parallel()
	p := governed(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, b := p.die(t, "one"), p.die(t, "two")
	p.die(t, "another one")
	out, err := p.dead.DiscardDeadLetters(ctx, &deadletterv1.DiscardDeadLettersRequest{Selector: selectIDs(a, b), Reason: "of no use"})
	require.NoError(t, err)
	require.EqualValues(t, 2, out.Discarded)
	all := &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: `type = "` + typeFail + `"`}}
	preview, err := p.dead.PurgeDeadLetters(ctx, &deadletterv1.PurgeDeadLettersRequest{Selector: all, ValidateOnly: true, Reason: "the law"})
	require.NoError(t, err)
	require.EqualValues(t, 2, preview.Selection.Count)
	_, err = p.dead.PurgeDeadLetters(ctx, &deadletterv1.PurgeDeadLettersRequest{Selector: all, ExpectedCount: 3, Reason: "the law"})
	require.Equal(t, codes.Aborted, status.Code(err))
	requireReason(t, err, "COUNT_MISMATCH")
	require.Empty(t, p.list(t, `state = "PURGED"`))
	token := &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Token{Token: preview.Selection.Token}}
	purged, err := p.dead.PurgeDeadLetters(ctx, &deadletterv1.PurgeDeadLettersRequest{Selector: token, ExpectedCount: 2, Reason: "the law"})
	require.NoError(t, err)
	require.EqualValues(t, []int64{2, 2, 0}, []int64{purged.Matched, purged.Purged, purged.Skipped})
	for _, id := range []string{a, b} {
		p.deadLetter(t, id, inState(purgedState))
		_, err = p.dead.ReplayDeadLetter(ctx, &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "again"})
		requireReason(t, err, "DEAD_LETTER_NOT_OPEN")
	}
	require.Len(t, p.list(t, `state = "OPEN"`), 1)
}
