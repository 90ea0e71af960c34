package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var groupRules = map[string]func(*testing.T, store.Store){
	"Groups/keep what died of the same thing":           groupsKeep,
	"Groups/of a dead letter are that of its last run":  groupFollowsTheLastRun,
	"Groups/of a run again change nothing":              groupOfARunAgain,
	"Groups/are counted exactly, whatever happens":      groupsCountExactly,
	"Groups/RESOLVED are REGRESSED by a death":          groupsRegress,
	"Groups/bound their texts":                          groupsBoundTexts,
	"Groups/in each order, page by page":                groupsInOrder,
	"Groups/by each field":                              groupsByField,
	"Groups/count by state":                             groupsByState,
	"Group/shows its course and samples":                groupShowsAll,
	"UpdateGroup/changes and audits what was asked for": updatesGroup,
	"Put/refuses a group without a version":             refusesBadGroup,
}

// groupID makes the id of a group.
func groupID(n int) string { return fmt.Sprintf("%032x", n) }

// in is an arrival of a group.
func in(n int, a store.Arrival) store.Arrival {
	a.Fingerprint = store.Fingerprint{GroupID: groupID(n), Version: 1, Domain: "acme.com", Message: fmt.Sprintf("group %d is <num>", n)}
	return a
}

// fresh is an arrival of what has died just now.
func fresh(a store.Arrival) store.Arrival {
	a.Occurrence.DeadTime = time.Now().UTC().Truncate(time.Microsecond)
	return a
}

func group(t test, s store.Store, n int) store.Group {
	t.Helper()
	g, err := s.Group(t.Context(), groupID(n))
	require.NoError(t, err)
	return g
}

func setGroup(t test, s store.Store, n int, state store.GroupState) store.Group {
	t.Helper()
	g, err := s.UpdateGroup(t.Context(), store.GroupUpdate{ID: groupID(n), State: &state, By: store.Call{Method: "UpdateFailureGroup"}})
	require.NoError(t, err)
	return g
}

func groupsKeep(t *testing.T, s store.Store) {
	a, b := in(1, arrival(task.NewID(), 1)), in(1, arrival(task.NewID(), 1))
	b.Occurrence.DeadTime = at(-7)
	changes := put(t, s, a, b, in(2, foreign(task.NewID())))
	require.Equal(t, store.Change{
		ID: a.ID, Kind: store.ChangeCreated, State: store.StateOpen, Run: 1, GroupID: groupID(1), GroupCreated: true,
	}, changes[0])
	require.False(t, changes[1].GroupCreated)
	require.True(t, changes[2].GroupCreated)
	require.Equal(t, groupID(1), get(t, s, b.ID).GroupID)
	g := group(t, s, 1)
	require.Equal(t, store.Group{
		ID: groupID(1), Sequence: g.Sequence, State: store.GroupOpen, Etag: g.Etag, Type: taskType, Cause: a.Occurrence.Cause, Code: 13,
		Domain: "acme.com", Reason: "BROKEN_1", Message: "group 1 is <num>", FingerprintVersion: 1, Count: 2, DeadLetters: 2, Open: 2,
		FirstSeen: at(-7), LastSeen: at(1), StateTime: g.StateTime, Hours: g.Hours, Samples: g.Samples, Versions: g.Versions,
	}, g)
	require.Zero(t, group(t, s, 2).Code, "it has no failure")
	_, err := s.Group(t.Context(), groupID(3))
	require.ErrorIs(t, err, store.ErrNoGroup)
	for n, want := range map[int]bool{1: true, 3: false} {
		known, err := s.HasGroup(t.Context(), groupID(n))
		require.NoError(t, err)
		require.Equal(t, want, known)
	}
	require.ElementsMatch(t, []string{a.ID, b.ID}, ids(list(t, s, store.Query{Filter: parse(t, `group_id = "`+groupID(1)+`"`), Limit: 1})))
}

func groupFollowsTheLastRun(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, in(1, arrival(id, 2)), in(2, arrival(id, 1)))
	require.Equal(t, groupID(1), get(t, s, id).GroupID)
	require.EqualValues(t, 1, group(t, s, 2).Count, "history counts for its own group")
	require.Zero(t, group(t, s, 2).DeadLetters)
	put(t, s, in(3, arrival(id, 3)))
	require.Equal(t, groupID(3), get(t, s, id).GroupID)
	require.Zero(t, group(t, s, 1).DeadLetters)
	require.EqualValues(t, 1, group(t, s, 1).Count, "a group stays when its dead letters go")
	put(t, s, arrival(id, 4))
	require.Empty(t, get(t, s, id).GroupID, "it is not known yet")
	require.Zero(t, group(t, s, 3).Open)
}

func groupOfARunAgain(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, in(1, arrival(id, 1)))
	want := group(t, s, 1)
	require.Equal(t, store.Change{ID: id, State: store.StateOpen, Run: 1}, put(t, s, in(2, arrival(id, 1)))[0])
	require.Equal(t, want, group(t, s, 1))
	_, err := s.Group(t.Context(), groupID(2))
	require.ErrorIs(t, err, store.ErrNoGroup)
}

// groupsCountExactly compares the counts of groups with the dead letters, after anything.
func groupsCountExactly(t *testing.T, s store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		letters, runs := make([]string, 3), make([]int, 3)
		for i := range letters {
			letters[i] = task.NewID()
		}
		draw := func(name string, most int) int { return rapid.IntRange(0, most).Draw(t, name) }
		for range draw("steps", 12) {
			i := draw("which", 2)
			id := letters[i]
			switch draw("action", 5) {
			case 0:
				_, _ = s.Discard(t.Context(), store.DiscardRequest{ID: id})
			case 1:
				_, _, _ = s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: runs[i] + 1})
			case 2:
				_, _ = s.Resolve(t.Context(), id, runs[i]+1, store.OutcomeSucceeded)
			case 3:
				regroupAll(t, s, 1+draw("version", 2))
			default:
				run := 1 + draw("run", runs[i]+1)
				runs[i] = max(runs[i], run)
				a := arrival(id, run)
				if n := draw("group", 3); n > 0 {
					a = in(n, a)
				}
				put(t, s, a)
			}
		}
		requireCounted(t, s)
	})
}

// regroupAll groups by a version of rules that put runs elsewhere.
func regroupAll(t test, s store.Store, version int) {
	t.Helper()
	for {
		found, err := s.Ungrouped(t.Context(), version, 2)
		require.NoError(t, err)
		if len(found) == 0 {
			return
		}
		var all []store.Regrouping
		for _, u := range found {
			r := store.Regrouping{Sequence: u.Sequence, Version: version, Runs: map[int]store.Fingerprint{}}
			for _, x := range u.Runs {
				r.Runs[x.Run] = store.Fingerprint{GroupID: groupID(100*version + x.Run%2), Version: version, Message: "m"}
			}
			all = append(all, r)
		}
		require.NoError(t, s.Regroup(t.Context(), all))
	}
}

// requireCounted demands that the counts of groups are those of the dead letters.
func requireCounted(t test, s store.Store) {
	t.Helper()
	all, err := s.Aggregate(t.Context(), store.AggregateQuery{By: []store.AggregateKey{{Field: store.FieldGroupID}}})
	require.NoError(t, err)
	open, err := s.Aggregate(t.Context(), store.AggregateQuery{Filter: parse(t, "state = OPEN"), By: []store.AggregateKey{{Field: store.FieldGroupID}}})
	require.NoError(t, err)
	want, wantOpen := map[string]int64{}, map[string]int64{}
	for _, a := range all {
		want[a.Values[0]] = a.Count
	}
	for _, a := range open {
		wantOpen[a.Values[0]] = a.Count
	}
	var runs int64
	for _, g := range allGroups(t, s, store.GroupQuery{Limit: store.MaxPage}) {
		require.Equal(t, want[g.ID], g.DeadLetters, g.ID)
		require.Equal(t, wantOpen[g.ID], g.Open, g.ID)
		delete(want, g.ID)
		runs += g.Count
	}
	delete(want, "")
	require.Empty(t, want, "groups that are missing")
	for _, d := range list(t, s, store.Query{Limit: store.MaxPage}) {
		runs -= int64(d.OccurrenceCount)
	}
	require.LessOrEqual(t, runs, int64(0), "runs count once")
}

func groupsRegress(t *testing.T, s store.Store) {
	id, other := task.NewID(), task.NewID()
	put(t, s, in(1, arrival(id, 3)))
	for _, state := range []store.GroupState{store.GroupOpen, store.GroupAcknowledged} {
		setGroup(t, s, 1, state)
		require.False(t, put(t, s, in(1, arrival(task.NewID(), 1)))[0].GroupRegressed)
		require.Equal(t, state, group(t, s, 1).State)
	}
	resolved := setGroup(t, s, 1, store.GroupResolved)
	require.False(t, put(t, s, in(1, arrival(id, 2)))[0].GroupRegressed, "history is no failure since")
	require.False(t, put(t, s, in(1, arrival(id, 2)))[0].GroupRegressed)
	require.Equal(t, store.GroupResolved, group(t, s, 1).State)
	require.False(t, put(t, s, in(1, arrival(task.NewID(), 1)))[0].GroupRegressed, "it died long before the group was RESOLVED")
	require.Equal(t, store.GroupResolved, group(t, s, 1).State)
	changes := put(t, s, fresh(in(1, arrival(other, 1))), fresh(in(1, arrival(id, 4))))
	require.True(t, changes[0].GroupRegressed)
	require.False(t, changes[1].GroupRegressed, "it is REGRESSED already")
	g := group(t, s, 1)
	require.Equal(t, store.GroupRegressed, g.State)
	require.NotEqual(t, resolved.Etag, g.Etag)
	require.False(t, g.StateTime.Before(resolved.StateTime))

	setGroup(t, s, 1, store.GroupResolved)
	require.True(t, put(t, s, fresh(in(1, arrival(id, 5))))[0].GroupRegressed, "a dead letter that dies again")
}

func groupsBoundTexts(t *testing.T, s store.Store) {
	a := in(1, arrival(task.NewID(), 1))
	long := strings.Repeat("ä", 5000) + "\x00"
	a.Type, a.Occurrence.Reason = long, long
	a.Fingerprint.Domain, a.Fingerprint.Message, a.Fingerprint.Custom = long, long, "c\xff\x00"
	put(t, s, a)
	g := group(t, s, 1)
	want := strings.Repeat("ä", 2048)
	for _, text := range []string{g.Type, g.Reason, g.Domain, g.Message} {
		require.Equal(t, want, text)
	}
	require.Equal(t, "c\uFFFD\uFFFD", g.Custom)
}

// allGroups reads all pages of a query.
func allGroups(t test, s store.Store, q store.GroupQuery) []store.Group {
	t.Helper()
	var all []store.Group
	for {
		page, err := s.Groups(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.Groups...)
		if !page.More {
			return all
		}
		require.NotEmpty(t, page.Groups)
		place := q.Order.Place(&all[len(all)-1])
		q.After = &place
	}
}

func groupIDs(all []store.Group) []string {
	found := make([]string, len(all))
	for i := range all {
		found[i] = all[i].ID
	}
	return found
}

func groupsInOrder(t *testing.T, s store.Store) {
	// Of group n: deaths, of which so many stay OPEN, each at a second.
	for n, deaths := range [][]int{{5, 1}, {3}, {4, 4, 4}, {3}} {
		for i, second := range deaths {
			a := in(n, arrival(task.NewID(), 1))
			a.Occurrence.DeadTime = at(second)
			put(t, s, a)
			if n == 2 && i > 0 {
				discard(t, s, a.ID)
			}
		}
	}
	for order, want := range map[store.GroupOrder][]int{
		store.ByLastSeen: {0, 2, 3, 1}, store.ByFirstSeen: {2, 3, 1, 0}, store.ByCount: {2, 0, 3, 1}, store.ByOpen: {0, 3, 2, 1},
	} {
		var wanted []string
		for _, n := range want {
			wanted = append(wanted, groupID(n))
		}
		for _, limit := range []int{1, 3, 4} {
			require.Equal(t, wanted, groupIDs(allGroups(t, s, store.GroupQuery{Order: order, Limit: limit})), "order %d by %d", order, limit)
		}
	}
	page, err := s.Groups(t.Context(), store.GroupQuery{})
	require.NoError(t, err)
	require.Empty(t, page.Groups)
}

func groupsByField(t *testing.T, s store.Store) {
	put(t, s, in(1, arrival(task.NewID(), 1)), in(1, arrival(task.NewID(), 1)), in(2, foreign(task.NewID())))
	note := "ask the DBA"
	_, err := s.UpdateGroup(t.Context(), store.GroupUpdate{ID: groupID(1), Note: &note})
	require.NoError(t, err)
	setGroup(t, s, 2, store.GroupAcknowledged)
	for text, want := range map[string][]string{
		``:                             {groupID(1), groupID(2)},
		`state = OPEN`:                 {groupID(1)},
		`state != OPEN`:                {groupID(2)},
		`type = "demo.v1.*"`:           {groupID(1)},
		`cause = UNDECODABLE`:          {groupID(2)},
		`code = INTERNAL`:              {groupID(1)},
		`-code:*`:                      {groupID(2)},
		`reason = BROKEN_1`:            {groupID(1)},
		`domain = "acme.com"`:          {groupID(1), groupID(2)},
		`message:"GROUP 2"`:            {groupID(2)},
		`note:dba`:                     {groupID(1)},
		`count > 1`:                    {groupID(1)},
		`open_count = 1 AND count = 1`: {groupID(2)},
		`first_seen_time > "2026-11-21T12:00:00.123456Z"`: {groupID(1)},
		`last_seen_time < "2026-11-21T12:00:01Z"`:         {groupID(2)},
	} {
		f, err := store.GroupFields.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, groupIDs(allGroups(t, s, store.GroupQuery{Filter: f, Limit: 1})), text)
	}
	_, err = store.GroupFields.Parse(`labels.a = "b"`)
	require.Error(t, err)
}

func groupsByState(t *testing.T, s store.Store) {
	put(t, s, in(1, arrival(task.NewID(), 1)), in(2, arrival(task.NewID(), 1)), in(3, arrival(task.NewID(), 1)))
	setGroup(t, s, 2, store.GroupResolved)
	counts, err := s.CountGroups(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[store.GroupState]int64{store.GroupOpen: 2, store.GroupResolved: 1}, counts)
}

func groupShowsAll(t *testing.T, s store.Store) {
	now := time.Now()
	var last []string
	for i := range 12 {
		a := in(1, arrival(task.NewID(), 1))
		// The hours are the store's clock's: the last of a week, and one before them.
		a.Occurrence.DeadTime = now.Add(-time.Duration(i%3) * 90 * time.Hour)
		a.Occurrence.Attempts[1].Version = fmt.Sprintf("v%d", i%4/3)
		a.Occurrence.TraceID = fmt.Sprintf("%032x", i)
		put(t, s, a)
		if i == 11 {
			discard(t, s, a.ID)
		}
		last = append([]string{a.ID}, last...)
	}
	g := group(t, s, 1)
	require.EqualValues(t, 12, g.Count)
	require.Len(t, g.Hours, 2)
	require.True(t, g.Hours[0].Start.Before(g.Hours[1].Start))
	for _, h := range g.Hours {
		require.EqualValues(t, 4, h.Count)
		require.Equal(t, h.Start, h.Start.Truncate(time.Hour))
	}
	var samples []string
	for i, x := range g.Samples {
		samples = append(samples, x.DeadLetterID)
		require.Equal(t, fmt.Sprintf("%032x", 11-i), x.TraceID)
	}
	require.Equal(t, last[:store.MaxSamples], samples)
	require.Equal(t, []store.VersionCount{{Version: "v0", Count: 9}, {Version: "v1", Count: 3}}, g.Versions)
	n, err := s.ForgetHours(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, n)
}

func updatesGroup(t *testing.T, s store.Store) {
	put(t, s, in(1, arrival(task.NewID(), 1)))
	before := group(t, s, 1)
	state, note, until := store.GroupAcknowledged, "Tue", at(100)
	by := store.Call{Method: "UpdateFailureGroup", Actor: "jane", Reason: "looking"}
	update := func(u store.GroupUpdate) (store.Group, error) {
		u.ID, u.By = groupID(1), by
		return s.UpdateGroup(t.Context(), u)
	}
	_, err := update(store.GroupUpdate{Etag: before.Etag + "0", State: &state})
	require.ErrorIs(t, err, store.ErrEtag)
	require.Equal(t, before, group(t, s, 1))
	g, err := update(store.GroupUpdate{Etag: before.Etag, State: &state, Note: &note, MuteUntil: &until})
	require.NoError(t, err)
	require.Equal(t, store.GroupAcknowledged, g.State)
	require.Equal(t, "Tue", g.Note)
	require.Equal(t, until, g.MuteUntil)
	require.NotEqual(t, before.Etag, g.Etag)
	require.False(t, g.StateTime.Before(before.StateTime))
	again, err := update(store.GroupUpdate{State: &state, Note: &note})
	require.NoError(t, err)
	require.Equal(t, g, again, "nothing has changed")
	none := time.Time{}
	g2, err := update(store.GroupUpdate{MuteUntil: &none})
	require.NoError(t, err)
	require.True(t, g2.MuteUntil.IsZero())
	require.Equal(t, g.StateTime, g2.StateTime)

	events, err := s.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 2, "neither what was refused nor what changed nothing is on record")
	require.Equal(t, "failureGroups/"+groupID(1), events[1].Resource)
	require.Equal(t, "jane", events[1].By.Actor)
	require.Equal(t, []store.AuditChange{
		{Field: "state", Before: "OPEN", After: "ACKNOWLEDGED"}, {Field: "note", After: "Tue"},
		{Field: "mute_until_time", After: "2026-11-21T12:01:40.123456Z"},
	}, events[1].Changes)
	_, err = s.UpdateGroup(t.Context(), store.GroupUpdate{ID: groupID(2), State: &state})
	require.ErrorIs(t, err, store.ErrNoGroup)
}

func refusesBadGroup(t *testing.T, s store.Store) {
	for _, f := range []store.Fingerprint{{GroupID: groupID(1)}, {Version: 1}, {GroupID: groupID(1), Version: -1}} {
		a := arrival(task.NewID(), 1)
		a.Fingerprint = f
		_, err := s.Put(t.Context(), []store.Arrival{a})
		require.ErrorIs(t, err, store.ErrBadArrival)
	}
}
