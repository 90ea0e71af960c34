package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var claimRules = map[string]func(*testing.T, store.Store){
	"ClaimRun/the first message holds":               firstHolds,
	"ClaimRun/keeps others from starting":            claimKeepsOthers,
	"ClaimRun/yields to who was started unasked":     claimYields,
	"ClaimRun/says that the run has ended":           claimOfEnded,
	"ClaimRun/of a purged run":                       claimOfPurged,
	"ClaimRun/of an id that is no UUID":              claimOfNoUUID,
	"ClaimRun/of messages at once, one holds":        claimOneOfMany,
	"Claim/goes with its task":                       purgeTakesClaims,
	"Claim/of a later run stays":                     purgeKeepsLaterClaim,
	"Claim/of a task that never became known goes":   purgesLooseClaims,
	"Claim/of a known task stays as long as it does": keepsClaimOfKnown,
}

func claim(t test, s store.Store, id string, run int, c byte) (held, ended bool) {
	t.Helper()
	held, ended, err := s.ClaimRun(t.Context(), id, run, task.Copy{c})
	require.NoError(t, err)
	return held, ended
}

func requireClaim(t test, s store.Store, id string, run int, c byte, wantHeld, wantEnded bool) {
	t.Helper()
	held, ended := claim(t, s, id, run, c)
	require.Equal(t, [2]bool{wantHeld, wantEnded}, [2]bool{held, ended}, "held, ended")
}

func firstHolds(t *testing.T, s store.Store) {
	known, unknown := task.NewID(), task.NewID()
	apply(t, s, queued(known))
	for _, id := range []string{known, unknown} {
		for range 2 {
			requireClaim(t, s, id, 1, 1, true, false)
			requireClaim(t, s, id, 1, 2, false, false)
		}
		requireClaim(t, s, id, 2, 2, true, false)
	}
	requireGone(t, s, unknown)
}

func claimKeepsOthers(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	requireClaim(t, s, id, 1, 2, true, false)
	require.Equal(t, task.VerdictDrop, verdict(t, s, ask(id, 1)))
	once := ask(id, 2)
	once.AtMostOnce = true
	require.Equal(t, task.VerdictStart, verdict(t, s, once), "a claim is no start")
	requireClaim(t, s, id, 1, 2, true, false)
	require.Equal(t, task.VerdictGiveUp, verdict(t, s, redelivered(once, 2)), "it stays as it was")
}

func claimYields(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), started(id))
	requireClaim(t, s, id, 1, 2, false, false)
	requireClaim(t, s, id, 1, 1, true, false)
}

func claimOfEnded(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), delivered(id, task.PhaseDeadLettered))
	requireClaim(t, s, id, 1, 2, false, true)
	requireClaim(t, s, id, 1, 1, true, true)
	requireClaim(t, s, id, 2, 2, true, false)
	other := task.NewID()
	apply(t, s, inRun(2, queued(other)))
	_, ended := claim(t, s, other, 1, 2)
	require.True(t, ended, "there is a later run")
}

func claimOfPurged(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), succeeded(id))
	purgeAll(t, s)
	requireClaim(t, s, id, 1, 1, false, true)
	requireClaim(t, s, id, 2, 1, true, false)
}

func claimOfNoUUID(t *testing.T, s store.Store) {
	requireClaim(t, s, "x", 1, 1, false, false)
}

func claimOneOfMany(t *testing.T, s store.Store) {
	id := task.NewID()
	var holders atomic.Int32
	g, ctx := errgroup.WithContext(t.Context())
	for c := range byte(8) {
		g.Go(func() error {
			held, _, err := s.ClaimRun(ctx, id, 1, task.Copy{c})
			if held {
				holders.Add(1)
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, holders.Load())
}

// forgetTombstones forgets tombstones and claims, as late as can be, and says
// how many.
func forgetTombstones(t test, s store.Store) int {
	t.Helper()
	n, err := s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), store.MaxPurge)
	require.NoError(t, err)
	return n
}

func purgeTakesClaims(t *testing.T, s store.Store) {
	id, events := endedAt(10, task.PhaseSucceeded)
	apply(t, s, events[0])
	requireClaim(t, s, id, 1, 1, true, false)
	apply(t, s, events...)
	require.Equal(t, endedRows, purgeAll(t, s), "claims do not count")
	require.Equal(t, 1, forgetTombstones(t, s), "the tombstone alone")
	// Nothing is known any more.
	requireClaim(t, s, id, 1, 2, true, false)
}

func purgeKeepsLaterClaim(t *testing.T, s store.Store) {
	id, events := endedAt(10, task.PhaseSucceeded)
	apply(t, s, events...)
	requireClaim(t, s, id, 2, 2, true, false)
	purgeAll(t, s)
	requireClaim(t, s, id, 2, 3, false, false)
	require.Equal(t, 2, forgetTombstones(t, s), "the tombstone and the claim")
	requireClaim(t, s, id, 2, 3, true, false)
}

func purgesLooseClaims(t *testing.T, s store.Store) {
	id, known := task.NewID(), task.NewID()
	for _, x := range []string{id, known} {
		for run := range 3 {
			requireClaim(t, s, x, run+1, 1, true, false)
		}
	}
	apply(t, s, queued(known))
	n, err := s.PurgeTombstones(t.Context(), time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	for _, c := range []struct{ limit, want int }{{0, 0}, {-1, 0}, {2, 2}, {2, 1}, {2, 0}} {
		n, err := s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), c.limit)
		require.NoError(t, err)
		require.Equal(t, c.want, n)
	}
	requireClaim(t, s, id, 1, 2, true, false)
	requireClaim(t, s, known, 1, 2, false, false)
}

func keepsClaimOfKnown(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), started(id), delivered(id, task.PhaseDeadLettered))
	requireClaim(t, s, id, 2, 1, true, false)
	purgeAll(t, s)
	require.Zero(t, forgetTombstones(t, s))
	requireClaim(t, s, id, 2, 2, false, false)
}
