package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var keyRules = map[string]func(*testing.T, store.Store){
	"Keys/the first claim has the key":                  firstClaims,
	"Keys/a claim again as the owner renews it":         claimsAsOwner,
	"Keys/another owner takes it after the lease":       takesAfterLease,
	"Keys/a submitted one answers with its task":        answersSubmitted,
	"Keys/one that was not submitted is as before":      givesBack,
	"Keys/another digest is a conflict":                 conflictsOnDigest,
	"Keys/are of their task type":                       keysOfTypes,
	"Keys/of two claims in one call the first counts":   claimsTwice,
	"Keys/are nobody's after their window":              endsWindow,
	"Keys/a lease outlasts the window":                  leaseOutlastsWindow,
	"Keys/renewing puts off the end of the lease":       renews,
	"Keys/who has lost one can't renew nor settle it":   losesKey,
	"Keys/of old windows are purged":                    purgesKeys,
	"Keys/of nothing does nothing":                      keysOfNothing,
	"Keys/of owners at once has one":                    oneClaims,
	"Keys/any claims, leases and ends follow the model": func(t *testing.T, s store.Store) { anyClaims(t, s) },
}

// leaseEnd and windowEnd are so many seconds after the first event.
const (
	leaseSeconds  = 5
	windowSeconds = 100
)

// claimOf makes a claim at a second.
func claimOf(key, owner string, second int) store.KeyClaim {
	return store.KeyClaim{
		Type: taskType, Key: key, Digest: [32]byte{1}, TaskID: task.NewID(), Owner: owner,
		Until: at(second + leaseSeconds), WindowEnd: at(second + windowSeconds),
	}
}

func refOf(c store.KeyClaim) store.KeyRef {
	return store.KeyRef{Type: c.Type, Key: c.Key, Owner: c.Owner}
}

// claimKeys claims at a second.
func claimKeys(t test, s store.Store, second int, claims ...store.KeyClaim) []store.KeyAnswer {
	t.Helper()
	answers, err := s.ClaimKeys(t.Context(), at(second), claims)
	require.NoError(t, err)
	require.Len(t, answers, len(claims))
	return answers
}

func renewKey(t test, s store.Store, c store.KeyClaim, until int) bool {
	t.Helper()
	held, err := s.RenewKeys(t.Context(), []store.KeyRef{refOf(c)}, at(until))
	require.NoError(t, err)
	require.Len(t, held, 1)
	return held[0]
}

func settleKey(t test, s store.Store, c store.KeyClaim, submitted bool) {
	t.Helper()
	require.NoError(t, s.SettleKeys(t.Context(), []store.KeyRef{refOf(c)}, submitted))
}

// mine is the answer to the first claim on a key.
func mine(c store.KeyClaim) store.KeyAnswer {
	return store.KeyAnswer{Outcome: store.KeyMine, TaskID: c.TaskID, Until: c.Until}
}

func firstClaims(t *testing.T, s store.Store) {
	a, b := claimOf("k", "a", 0), claimOf("k", "b", 4)
	require.Equal(t, mine(a), claimKeys(t, s, 0, a)[0])
	require.Equal(t, store.KeyAnswer{Outcome: store.KeyBusy, TaskID: a.TaskID, Until: a.Until}, claimKeys(t, s, 4, b)[0])
	other := claimOf("k2 <&> ü", "b", 0)
	require.Equal(t, mine(other), claimKeys(t, s, 0, other)[0])
}

func claimsAsOwner(t *testing.T, s store.Store) {
	a := claimOf("k", "a", 0)
	claimKeys(t, s, 0, a)
	again := claimOf("k", "a", 3)
	want := store.KeyAnswer{Outcome: store.KeyMine, TaskID: a.TaskID, Until: again.Until}
	require.Equal(t, want, claimKeys(t, s, 3, again)[0])
	require.Equal(t, want, claimKeys(t, s, 3, claimOf("k", "a", 0))[0], "a lease does not get shorter")
	// What an owner did before its lease has ended is another's as far as it knows.
	want.Again, want.Until = true, at(20+leaseSeconds)
	require.Equal(t, want, claimKeys(t, s, 20, claimOf("k", "a", 20))[0])
}

func takesAfterLease(t *testing.T, s store.Store) {
	a := claimOf("k", "a", 0)
	claimKeys(t, s, 0, a)
	b := claimOf("k", "b", leaseSeconds)
	want := store.KeyAnswer{Outcome: store.KeyMine, TaskID: a.TaskID, Again: true, Until: b.Until}
	require.Equal(t, want, claimKeys(t, s, leaseSeconds, b)[0])
	require.Equal(t, want, claimKeys(t, s, leaseSeconds, b)[0], "also if the answer was lost")
	require.Equal(t, store.KeyBusy, claimKeys(t, s, leaseSeconds, claimOf("k", "a", leaseSeconds))[0].Outcome)
}

func answersSubmitted(t *testing.T, s store.Store) {
	a := claimOf("k", "a", 0)
	claimKeys(t, s, 0, a)
	for range 2 {
		settleKey(t, s, a, true)
	}
	settleKey(t, s, a, false)
	for _, second := range []int{1, leaseSeconds, windowSeconds - 1} {
		for _, owner := range []string{"a", "b"} {
			require.Equal(t, store.KeyAnswer{Outcome: store.KeyDone, TaskID: a.TaskID}, claimKeys(t, s, second, claimOf("k", owner, second))[0])
		}
	}
}

func givesBack(t *testing.T, s store.Store) {
	a, b, c := claimOf("k", "a", 0), claimOf("k", "b", 1), claimOf("k", "c", 20)
	claimKeys(t, s, 0, a)
	settleKey(t, s, a, false)
	require.Equal(t, mine(b), claimKeys(t, s, 1, b)[0], "it was nobody's")
	// The next one can't say that nobody has submitted it.
	require.True(t, claimKeys(t, s, 20, c)[0].Again)
	settleKey(t, s, c, false)
	d := claimOf("k", "d", 20)
	want := store.KeyAnswer{Outcome: store.KeyMine, TaskID: b.TaskID, Again: true, Until: d.Until}
	require.Equal(t, want, claimKeys(t, s, 20, d)[0])
}

func conflictsOnDigest(t *testing.T, s store.Store) {
	a := claimOf("k", "a", 0)
	claimKeys(t, s, 0, a)
	other := claimOf("k", "b", 1)
	other.Digest = [32]byte{2}
	want := store.KeyAnswer{Outcome: store.KeyConflict, TaskID: a.TaskID}
	require.Equal(t, want, claimKeys(t, s, 1, other)[0], "of one that is being submitted")
	require.Equal(t, want, claimKeys(t, s, 50, other)[0], "of one that may be")
	claimKeys(t, s, 50, a)
	settleKey(t, s, a, true)
	require.Equal(t, want, claimKeys(t, s, 51, other)[0], "of one that is")
	require.Equal(t, mine(other), claimKeys(t, s, windowSeconds, other)[0])
}

func keysOfTypes(t *testing.T, s store.Store) {
	a, b := claimOf("k", "a", 0), claimOf("k", "b", 0)
	b.Type = otherType
	require.Equal(t, []store.KeyAnswer{mine(a), mine(b)}, claimKeys(t, s, 0, a, b))
	settleKey(t, s, a, true)
	require.Equal(t, store.KeyMine, claimKeys(t, s, 0, b)[0].Outcome)
}

func claimsTwice(t *testing.T, s store.Store) {
	a, b, c := claimOf("k", "a", 0), claimOf("k", "b", 0), claimOf("k2", "c", 0)
	other := claimOf("k", "d", 0)
	other.Digest = [32]byte{2}
	require.Equal(t, []store.KeyAnswer{
		mine(a), {Outcome: store.KeyBusy, TaskID: a.TaskID, Until: a.Until}, mine(c), {Outcome: store.KeyConflict, TaskID: a.TaskID},
	}, claimKeys(t, s, 0, a, b, c, other))
}

func endsWindow(t *testing.T, s store.Store) {
	pending, done := claimOf("pending", "a", 0), claimOf("done", "a", 0)
	claimKeys(t, s, 0, pending, done)
	settleKey(t, s, done, true)
	require.Equal(t, store.KeyDone, claimKeys(t, s, windowSeconds-1, claimOf("done", "b", 0))[0].Outcome)
	for _, key := range []string{"pending", "done"} {
		c := claimOf(key, "b", windowSeconds)
		require.Equal(t, mine(c), claimKeys(t, s, windowSeconds, c)[0])
	}
}

func leaseOutlastsWindow(t *testing.T, s store.Store) {
	a := claimOf("k", "a", 0)
	claimKeys(t, s, 0, a)
	require.True(t, renewKey(t, s, a, windowSeconds+5))
	require.Equal(t, store.KeyBusy, claimKeys(t, s, windowSeconds, claimOf("k", "b", windowSeconds))[0].Outcome)
	require.Zero(t, purgeKeys(t, s, windowSeconds, 10))
	c := claimOf("k", "b", windowSeconds+5)
	require.Equal(t, mine(c), claimKeys(t, s, windowSeconds+5, c)[0])
}

func renews(t *testing.T, s store.Store) {
	a, other := claimOf("k", "a", 0), claimOf("k2", "a", 0)
	claimKeys(t, s, 0, a, other)
	require.True(t, renewKey(t, s, a, 9))
	require.True(t, renewKey(t, s, a, 7))
	require.Equal(t, at(9), claimKeys(t, s, 8, claimOf("k", "b", 8))[0].Until)
	require.Equal(t, store.KeyMine, claimKeys(t, s, 8, claimOf("k2", "b", 8))[0].Outcome, "others end")
	require.True(t, renewKey(t, s, a, 30), "nobody has taken it")
	require.Equal(t, at(30), claimKeys(t, s, 20, claimOf("k", "b", 20))[0].Until)
	held, err := s.RenewKeys(t.Context(), []store.KeyRef{refOf(other), refOf(a), {Type: taskType, Key: "k3", Owner: "a"}}, at(40))
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, false}, held)
}

func losesKey(t *testing.T, s store.Store) {
	a, b := claimOf("k", "a", 0), claimOf("k", "b", 10)
	claimKeys(t, s, 0, a)
	claimKeys(t, s, 10, b)
	require.False(t, renewKey(t, s, a, 90))
	settleKey(t, s, a, true)
	settleKey(t, s, a, false)
	require.Equal(t, store.KeyAnswer{Outcome: store.KeyBusy, TaskID: a.TaskID, Until: b.Until}, claimKeys(t, s, 10, claimOf("k", "c", 10))[0])
	settleKey(t, s, b, true)
	require.False(t, renewKey(t, s, b, 90), "it is settled")
	settleKey(t, s, a, false)
	require.Equal(t, store.KeyDone, claimKeys(t, s, 10, a)[0].Outcome)
}

func purgeKeys(t test, s store.Store, second, limit int) int {
	t.Helper()
	n, err := s.PurgeKeys(t.Context(), at(second), limit)
	require.NoError(t, err)
	return n
}

func purgesKeys(t *testing.T, s store.Store) {
	for second := range 5 {
		c := claimOf(fmt.Sprint("k", second), "a", second)
		claimKeys(t, s, second, c)
		settleKey(t, s, c, second%2 == 0) // the others are given back
	}
	pending := claimOf("pending", "a", 5)
	claimKeys(t, s, 5, pending)
	for _, c := range []struct{ second, limit, want int }{
		{windowSeconds - 1, 10, 0}, {windowSeconds + 10, 0, 0}, {windowSeconds + 10, -1, 0}, {windowSeconds + 2, 10, 2},
		{windowSeconds + 10, 1, 1}, {windowSeconds + 10, 10, 1}, {windowSeconds + 10, 10, 0},
	} {
		require.Equal(t, c.want, purgeKeys(t, s, c.second, c.limit), c)
	}
	settleKey(t, s, pending, true)
	c := claimOf("pending", "b", 6)
	require.Equal(t, mine(c), claimKeys(t, s, 6, c)[0])
}

func keysOfNothing(t *testing.T, s store.Store) {
	require.Empty(t, claimKeys(t, s, 0))
	held, err := s.RenewKeys(t.Context(), nil, at(1))
	require.NoError(t, err)
	require.Empty(t, held)
	require.NoError(t, s.SettleKeys(t.Context(), nil, true))
}

// oneClaims has many owners claim two keys at once, at any of the stores.
func oneClaims(t *testing.T, s store.Store) { claimAtOnce(t, s) }

func claimAtOnce(t *testing.T, stores ...store.Store) {
	var mu sync.Mutex
	ids, won := map[string]string{}, map[string]int{}
	var g errgroup.Group
	for i := range 32 {
		g.Go(func() error {
			owner := fmt.Sprint("owner", i)
			claims := []store.KeyClaim{claimOf("k1", owner, 0), claimOf("k2", owner, 0)}
			answers, err := stores[i%len(stores)].ClaimKeys(t.Context(), at(0), claims)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for j, a := range answers {
				key := claims[j].Key
				if ids[key] == "" {
					ids[key] = a.TaskID
				}
				if a.Outcome == store.KeyMine {
					won[key]++
				}
				if a.TaskID != ids[key] || a.Outcome != store.KeyMine && a.Outcome != store.KeyBusy {
					return fmt.Errorf("%s is answered with %+v, before it was task %s", key, a, ids[key])
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, map[string]int{"k1": 1, "k2": 1}, won)
}
