package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// taskNumber is the id of one of the tasks that fill makes.
func taskNumber(n int) string {
	return fmt.Sprintf("01900000-0000-7000-8000-%012x", n)
}

// fill makes tasks 1 to n, faster than by Apply: SUCCEEDED, one in 1,000 with a
// label of its own.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	_, err := s.db.Writer.ExecContext(t.Context(), `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO tasks (id, type, state, run, attempt, priority, labels, trace_id, create_time, start_time, end_time, update_time,
	version, decided_run, decided_key, started_key, payload_number, payload_run, payload_size, payload_omitted, result_number, result_size, cause,
	purged_run, purged_version)
SELECT unhex(printf('01900000000070008000%012x', n)), 'demo.v1.ImageService.Thumbnail', 5, 1, 1, 4,
	CASE WHEN n % 1000 = 0 THEN json_object('customer', 'c' || n) ELSE '{"customer":"acme"}' END, printf('%032x', n), n, n, n, n,
	3, 1, ?, ?, 1, 1, 200, 0, 3, 200, 0, 0, 0
FROM numbers`, n, packKey(task.Key{}), packKey(task.Key{}))
	require.NoError(t, err)
}

// queuedEvent is the first event of a task.
func queuedEvent(id string) task.Event {
	return task.Event{
		TaskID: id, Type: "a.v1.A.B", Time: time.UnixMicro(1),
		Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued, Copy: task.NewCopy()},
	}
}

func parse(t testing.TB, text string) filter.Expr {
	t.Helper()
	f, err := store.Fields.Parse(text)
	require.NoError(t, err)
	return f
}

// Of many tasks each is on one page, while as many as there are pages come in and
// change.
func TestListOfManyIsStable(t *testing.T) {
	t.Parallel()
	const there, meanwhile, size = many, 1000, 500
	s := openHere(t)
	fill(t, s, there)
	done := make(chan error, 1)
	go func() {
		defer close(done)
		const batch = 10
		for n := 0; n < meanwhile; n += batch {
			var events []task.Event
			for i := range batch {
				changed := queuedEvent(taskNumber((n + i + 1) * there / meanwhile))
				changed.Key.Run = 2
				events = append(events, queuedEvent(task.NewID()), changed)
			}
			if _, err := s.Apply(t.Context(), events); err != nil {
				done <- err
				return
			}
		}
	}()
	next := there
	for q := (store.Query{Limit: size}); ; {
		page, err := s.List(t.Context(), q)
		require.NoError(t, err)
		for i := range page.Tasks {
			if id := page.Tasks[i].ID; strings.HasPrefix(id, "01900000") {
				require.Equal(t, taskNumber(next), id)
				next--
			}
		}
		if q.Before = page.Next; page.Next == "" {
			break
		}
	}
	require.Zero(t, next)
	require.NoError(t, <-done)
}

// A search among many tasks answers in time, and goes on where it ended.
func TestSearchOfManyKeepsToItsTime(t *testing.T) {
	t.Parallel()
	const there = many
	s := openHere(t)
	fill(t, s, there)
	q := store.Query{Filter: parse(t, `labels.customer = c2000 OR labels.customer = c4000`), Limit: 10, Time: time.Nanosecond}
	var found []string
	pages := 0
	for ; ; pages++ {
		page, err := s.List(t.Context(), q)
		require.NoError(t, err)
		for i := range page.Tasks {
			found = append(found, page.Tasks[i].ID)
		}
		if q.Before = page.Next; page.Next == "" {
			break
		}
	}
	require.Equal(t, []string{taskNumber(4000), taskNumber(2000)}, found)
	require.Equal(t, there/minStretch, pages, "one stretch each")
	q.Time, q.Before = time.Minute, ""
	page, err := s.List(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, page.Tasks, 2)
	require.Empty(t, page.Next)
}

// What is about few tasks finds them by an index.
func TestListUsesIndices(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	const trace = `trace_id = "00000000000000000000000000000007"`
	for text, index := range map[string]string{
		``:                      "PRIMARY KEY",
		`labels.customer = x`:   "PRIMARY KEY",
		`state = DEAD_LETTERED`: "tasks_dead",
		`state = DEAD_LETTERED AND labels.customer = x`: "tasks_dead",
		trace:                            "tasks_trace",
		trace + ` AND state = SUCCEEDED`: "tasks_trace",
		`state = DEAD_LETTERED AND (run = 1 AND ` + trace + `)`:       "tasks_trace",
		`task_id = "` + taskNumber(1) + `" AND state = DEAD_LETTERED`: "PRIMARY KEY (id=?)",
	} {
		l := &listing{filter: parse(t, text), source: sourceOf(parse(t, text)), columns: filterColumns("t.state", "")}
		for _, before := range [][]byte{nil, {1}} {
			l.before = before
			c := l.below()
			query := `SELECT t.id FROM ` + l.source.from + ` WHERE ` + c.SQL() + ` ORDER BY t.id DESC LIMIT 1 OFFSET ?`
			c.Filter(l.filter, l.columns)
			for _, query := range []string{
				query, `SELECT ` + taskColumns + ` FROM ` + l.source.from + ` WHERE ` + c.SQL() + ` ORDER BY t.id DESC LIMIT ?`,
			} {
				steps := strings.Join(plan(t, s, query), "\n")
				require.NotContains(t, steps, "TEMP B-TREE", query)
				if before != nil || index != "PRIMARY KEY" {
					require.Contains(t, steps, index, query)
				}
			}
		}
	}
}

func TestFeedUsesIndices(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	require.NotContains(t, strings.Join(plan(t, s, selectFeedBounds), "\n"), "SCAN feed")
	for _, query := range []string{selectFeedEvents, selectFeedEventsWithBodies} {
		steps := strings.Join(plan(t, s, query+"TRUE"), "\n")
		require.Contains(t, steps, "SEARCH t USING PRIMARY KEY (id=?)")
		require.Contains(t, steps, "SEARCH e USING PRIMARY KEY (task_id=? AND number=?)")
		require.NotContains(t, steps, "TEMP B-TREE")
	}
}

// Positions go on after a restart, also when everything was trimmed, and are of
// this store alone.
func TestFeedGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "store.db")
	var from store.FeedPosition
	for n := range 3 {
		s, err := Open(t.Context(), url, Options{})
		require.NoError(t, err)
		id := task.NewID()
		_, err = s.Apply(t.Context(), []task.Event{queuedEvent(id)})
		require.NoError(t, err)
		if n > 0 {
			page, err := s.Feed(t.Context(), store.FeedQuery{From: from, Limit: 10})
			require.NoError(t, err)
			require.Len(t, page.Entries, 1)
			require.Equal(t, id, page.Entries[0].Task.ID)
			require.EqualValues(t, n+2, page.Next.Row)
		}
		from, err = s.FeedEnd(t.Context())
		require.NoError(t, err)
		_, err = s.TrimFeed(t.Context(), time.Now().Add(time.Hour), 10)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	other := openHere(t)
	_, err := other.Feed(t.Context(), store.FeedQuery{From: store.FeedPosition{Store: from.Store, Row: 1}, Limit: 1})
	require.ErrorIs(t, err, store.ErrFeedPosition)
}

// However the clock is set, what is trimmed is the beginning.
func TestTrimWithAClockThatWentBack(t *testing.T) {
	t.Parallel()
	var now time.Time
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{Clock: func() time.Time { return now }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for _, second := range []int64{10, 20, 5, 30} {
		now = time.Unix(second, 0)
		_, err := s.Apply(t.Context(), []task.Event{queuedEvent(task.NewID())})
		require.NoError(t, err)
	}
	for _, c := range []struct{ before, want int64 }{{10, 0}, {11, 1}, {20, 0}, {21, 2}, {100, 0}} {
		n, err := s.TrimFeed(t.Context(), time.Unix(c.before, 0), 10)
		require.NoError(t, err)
		require.EqualValues(t, c.want, n, "before %d", c.before)
	}
}

func TestFeedRowsAreBounded(t *testing.T) {
	t.Parallel()
	var rows feedRows
	var want []feedEntry
	for n := range int64(20_000) {
		id := [16]byte{byte(n), byte(n >> 8)}
		rows.add(id, n<<20)
		want = append(want, feedEntry{id: id, number: n << 20})
	}
	require.Greater(t, len(rows), 2)
	var got []feedEntry
	for i, row := range rows {
		require.LessOrEqual(t, len(row), maxFeedRow)
		entries, err := decodeFeedRow(int64(i+1), row)
		require.NoError(t, err)
		require.Equal(t, feedEntry{id: entries[len(entries)-1].id, number: entries[len(entries)-1].number, row: int64(i + 2)}, entries[len(entries)-1])
		for n := range entries[:len(entries)-1] {
			require.Equal(t, n+1, entries[n].index)
		}
		for _, e := range entries {
			got = append(got, feedEntry{id: e.id, number: e.number})
		}
	}
	require.Equal(t, want, got)
	for _, bad := range [][]byte{{1}, make([]byte, 16), append(make([]byte, 16), 0x80)} {
		_, err := decodeFeedRow(1, bad)
		require.ErrorIs(t, err, errFeedEntries)
	}
}

// BenchmarkList reads one page of many tasks: the newest, one that a filter has
// to search for, and one that an index finds.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		s := openHere(b)
		fill(b, s, n)
		for name, q := range map[string]store.Query{
			"newest":   {},
			"deep":     {Before: taskNumber(n / 2)},
			"type":     {Filter: parse(b, `type = "demo.*" AND state = SUCCEEDED`)},
			"label":    {Filter: parse(b, `labels.customer = c1000`)},
			"none":     {Filter: parse(b, `run = 7`)},
			"trace_id": {Filter: parse(b, fmt.Sprintf(`trace_id = "%032x"`, n/2))},
			"dead":     {Filter: parse(b, `state = DEAD_LETTERED`)},
		} {
			q.Limit, q.Time = 50, time.Second
			b.Run(fmt.Sprintf("%s/tasks=%d", name, n), func(b *testing.B) {
				pages := 0
				for b.Loop() {
					for q := q; ; pages++ {
						page, err := s.List(b.Context(), q)
						require.NoError(b, err)
						if q.Before = page.Next; page.Next == "" || len(page.Tasks) > 0 {
							break
						}
					}
				}
				b.ReportMetric(1+float64(pages)/float64(b.N), "pages/op")
			})
		}
	}
}
