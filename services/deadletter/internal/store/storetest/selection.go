package storetest

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var selectionRules = map[string]func(*testing.T, store.Store){
	"Selection/by ids, in the order of arrival":       selectsIDs,
	"Selection/tells what is missing":                 tellsMissing,
	"Selection/by filter and states":                  selectsFilter,
	"Selection/of nothing":                            selectsNothing,
	"Selection/counts types and causes":               countsSelected,
	"Selection/stays as it was frozen":                staysFrozen,
	"Selection/keeps so many":                         keepsSelections,
	"Selection/changes nothing":                       selectionChangesNothing,
	"Selection/of an unknown token":                   refusesTokens,
	"Selected/in the order asked for":                 showsSelected,
	"Selected/ends before it is too much":             boundsSelected,
	"Select/is the same as Freeze, and keeps nothing": selectsWithoutToken,
}

func freeze(t test, s store.Store, r store.FreezeRequest) store.Selection {
	t.Helper()
	frozen, err := s.Freeze(t.Context(), r)
	require.NoError(t, err)
	read, err := s.Selection(t.Context(), frozen.Token)
	require.NoError(t, err)
	require.Equal(t, frozen, read)
	return frozen
}

// members are dead letters as a selection has them, with the digest of their ids.
func members(t test, s store.Store, ids ...string) ([]store.Member, []byte) {
	t.Helper()
	var all []store.Member
	hash := sha256.New()
	for _, id := range ids {
		d := get(t, s, id)
		version, err := strconv.ParseInt(d.Etag, 10, 64)
		require.NoError(t, err)
		all = append(all, store.Member{Sequence: d.Sequence, Version: version})
		u := uuid.MustParse(id)
		hash.Write(u[:])
	}
	return all, hash.Sum(nil)
}

func requireMembers(t test, s store.Store, x store.Selection, ids ...string) {
	t.Helper()
	want, digest := members(t, s, ids...)
	require.Equal(t, want, x.Members)
	require.Equal(t, digest, x.Digest)
}

func selectsIDs(t *testing.T, s store.Store) {
	ids := putMany(t, s, 5)
	put(t, s, arrival(ids[1], 2), arrival(ids[1], 3))
	discard(t, s, ids[3])
	// In another order, twice, in other spellings, and of any state.
	x := freeze(t, s, store.FreezeRequest{
		IDs: []string{ids[3], strings.ToUpper(ids[1]), ids[0], ids[1], "urn:uuid:" + ids[3]}, Filter: parse(t, `run = 7`), States: []store.State{store.StateOpen},
	})
	requireMembers(t, s, x, ids[0], ids[1], ids[3])
	require.Empty(t, x.Missing)
	again := freeze(t, s, store.FreezeRequest{IDs: []string{ids[0], ids[1], ids[3]}})
	require.Equal(t, x.Digest, again.Digest)
	require.NotEqual(t, x.Token, again.Token)
	require.NotEqual(t, x.Digest, freeze(t, s, store.FreezeRequest{IDs: ids[:2]}).Digest)
}

func tellsMissing(t *testing.T, s store.Store) {
	ids := putMany(t, s, 1)
	missing := []string{task.NewID(), "x", strings.ToUpper(task.NewID())}
	x := freeze(t, s, store.FreezeRequest{IDs: []string{missing[0], ids[0], missing[1], missing[2]}})
	requireMembers(t, s, x, ids[0])
	require.Equal(t, missing, x.Missing, "as they were spelled")
	many := newIDs(store.MaxMissing + 5)
	x = freeze(t, s, store.FreezeRequest{IDs: many})
	require.Empty(t, x.Members)
	require.Equal(t, many[:store.MaxMissing], x.Missing)
}

func newIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = task.NewID()
	}
	return ids
}

func selectsFilter(t *testing.T, s store.Store) {
	ids := putMany(t, s, 6)
	put(t, s, arrival(ids[2], 2), arrival(ids[4], 2))
	replay(t, s, ids[0], 2)
	discard(t, s, ids[4])
	resolveNow(t, s, ids[5])
	for _, c := range []struct {
		filter string
		states []store.State
		want   []string
	}{
		{``, nil, ids},
		{``, []store.State{store.StateOpen}, ids[1:4]},
		{``, []store.State{store.StateDiscarded, store.StateInReplay}, []string{ids[0], ids[4]}},
		{`run = 2`, nil, []string{ids[2], ids[4]}},
		{`run = 2`, []store.State{store.StateOpen, store.StateQuarantined}, ids[2:3]},
		{`labels.customer = acme OR state = RESOLVED`, nil, []string{ids[2], ids[4], ids[5]}},
		{`run = 9`, nil, nil},
	} {
		x := freeze(t, s, store.FreezeRequest{Filter: parse(t, c.filter), States: c.states})
		requireMembers(t, s, x, c.want...)
		require.Empty(t, x.Missing)
	}
}

func selectsNothing(t *testing.T, s store.Store) {
	x := freeze(t, s, store.FreezeRequest{})
	require.Empty(t, x.Members)
	empty := sha256.Sum256(nil)
	require.Equal(t, empty[:], x.Digest)
	require.NotEmpty(t, x.Token)
	require.Empty(t, x.ByType)
	require.Empty(t, x.ByCause)
}

func countsSelected(t *testing.T, s store.Store) {
	for i, n := range []int{1, 3, 2, 3} {
		for range n {
			a := arrival(task.NewID(), 1)
			a.Type = "a.v1.A.T" + strconv.Itoa(i)
			if i < 2 {
				a.Occurrence.Cause = task.CauseExpired
			}
			put(t, s, a)
		}
	}
	x := freeze(t, s, store.FreezeRequest{})
	require.Equal(t, []store.TypeCount{{Type: "a.v1.A.T1", Count: 3}, {Type: "a.v1.A.T3", Count: 3}, {Type: "a.v1.A.T2", Count: 2}, {Type: "a.v1.A.T0", Count: 1}}, x.ByType)
	require.Equal(t, []store.CauseCount{{Cause: task.CauseAttemptsExhausted, Count: 5}, {Cause: task.CauseExpired, Count: 4}}, x.ByCause)
}

// staysFrozen: what comes in later is not in it, and what has changed has another version.
func staysFrozen(t *testing.T, s store.Store) {
	ids := putMany(t, s, 300)
	was, digest := members(t, s, ids...)
	x := freeze(t, s, store.FreezeRequest{Filter: parse(t, `run >= 1`), States: []store.State{store.StateOpen}})
	putMany(t, s, 3)
	discard(t, s, ids[7])
	revise(t, s, ids[8], []byte("x"))
	read, err := s.Selection(t.Context(), strings.ToUpper(x.Token))
	require.NoError(t, err)
	require.Equal(t, x, read)
	require.Equal(t, was, read.Members)
	require.Equal(t, digest, read.Digest)
	now, _ := members(t, s, ids...)
	for i := range now {
		require.Equal(t, i == 7 || i == 8, now[i] != read.Members[i], i)
	}
}

func keepsSelections(t *testing.T, s store.Store) {
	ids := putMany(t, s, 1)
	var tokens []string
	for range store.MaxSelections + 3 {
		x, err := s.Freeze(t.Context(), store.FreezeRequest{IDs: ids})
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(store.SelectionTTL), x.ExpireTime, store.SelectionTTL/2)
		tokens = append(tokens, x.Token)
	}
	for i, token := range tokens {
		_, err := s.Selection(t.Context(), token)
		if i < 3 {
			require.ErrorIs(t, err, store.ErrNoSelection, "the oldest go first")
			continue
		}
		require.NoError(t, err, i)
	}
}

func selectionChangesNothing(t *testing.T, s store.Store) {
	ids := putMany(t, s, 3)
	last, err := s.LatestChange(t.Context())
	require.NoError(t, err)
	was := list(t, s, store.Query{Limit: 10, Full: true})
	freeze(t, s, store.FreezeRequest{IDs: ids})
	freeze(t, s, store.FreezeRequest{})
	require.Equal(t, was, list(t, s, store.Query{Limit: 10, Full: true}))
	now, err := s.LatestChange(t.Context())
	require.NoError(t, err)
	require.Equal(t, last, now)
	require.Empty(t, auditEvents(t, s, ``))
}

func refusesTokens(t *testing.T, s store.Store) {
	freeze(t, s, store.FreezeRequest{})
	for _, token := range []string{task.NewID(), "", "x", "' OR 1=1 --"} {
		_, err := s.Selection(t.Context(), token)
		require.ErrorIs(t, err, store.ErrNoSelection)
		require.NotErrorIs(t, err, store.ErrUnavailable)
	}
}

func selectsWithoutToken(t *testing.T, s store.Store) {
	ids := putMany(t, s, 4)
	for _, r := range []store.FreezeRequest{{}, {IDs: []string{ids[2], ids[0], "x"}}, {Filter: parse(t, `run = 1`), States: []store.State{store.StateOpen}}} {
		selected, err := s.Select(t.Context(), r)
		require.NoError(t, err)
		require.Empty(t, selected.Token)
		require.Zero(t, selected.ExpireTime)
		frozen := freeze(t, s, r)
		frozen.Token, frozen.ExpireTime = "", time.Time{}
		require.Equal(t, frozen, selected)
	}
}

func showsSelected(t *testing.T, s store.Store) {
	ids := putMany(t, s, 4)
	put(t, s, arrival(ids[1], 2))
	var sequences []int64
	for _, id := range ids {
		sequences = append(sequences, get(t, s, id).Sequence)
	}
	asked := []int64{sequences[3], 1 << 40, sequences[1], -1, sequences[2]}
	for _, full := range []bool{true, false} {
		var want []store.DeadLetter
		for _, i := range []int{3, 1, 2} {
			d, err := s.Get(t.Context(), ids[i], full)
			require.NoError(t, err)
			want = append(want, d)
		}
		got, err := s.Selected(t.Context(), asked, full)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := s.Selected(t.Context(), nil, true)
	require.NoError(t, err)
	require.Empty(t, got)
}

func boundsSelected(t *testing.T, s store.Store) {
	putMany(t, s, store.MaxPage+1)
	x := freeze(t, s, store.FreezeRequest{})
	var sequences []int64
	for _, m := range x.Members {
		sequences = append(sequences, m.Sequence)
	}
	got, err := s.Selected(t.Context(), sequences, false)
	require.NoError(t, err)
	require.Len(t, got, store.MaxPage)

	var large []int64
	for range 3 {
		a := foreign(task.NewID())
		a.Message.Body = make([]byte, store.MaxPageBytes*2/5)
		put(t, s, a)
		large = append(large, get(t, s, a.ID).Sequence)
	}
	got, err = s.Selected(t.Context(), large, true)
	require.NoError(t, err)
	require.Len(t, got, 2)
	slices.Reverse(large)
	got, err = s.Selected(t.Context(), append(large, sequences...), true)
	require.NoError(t, err)
	require.Len(t, got, 2)
	got, err = s.Selected(t.Context(), large, false)
	require.NoError(t, err)
	require.Len(t, got, 3)
}
