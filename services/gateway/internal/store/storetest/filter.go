package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/filter/filtertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var filterRules = map[string]func(*testing.T, store.Store){
	"Filter/any one selects what the model does": anyFilter,
	"Filter/by each field":                       filtersEachField,
	"Filter/by attempts":                         filtersAttempts,
	"Filter/by schedules":                        filtersSchedules,
	"Filter/takes values as they are":            takesValuesAsTheyAre,
	"Filter/as long as it may be":                takesLongFilter,
}

func filtersEachField(t *testing.T, s store.Store) {
	ids := newIDs(t, 3)
	waits, retries, dead := ids[0], ids[1], ids[2]
	apply(t, s, queued(waits))
	apply(t, s, ofType(otherType, queued(retries), started(retries), delivered(retries, task.PhaseRetrying))...)
	// Nothing is known of its submission.
	apply(t, s, started(dead), inRun(2, delivered(dead, task.PhaseDeadLettered)))
	all := newestFirst(ids...)
	for text, want := range map[string][]string{
		``: all,
		fmt.Sprintf(`task_id = %q`, strings.ToUpper(waits)):        {waits},
		fmt.Sprintf(`task_id = %q OR run = 2`, waits):              {dead, waits},
		fmt.Sprintf(`task_id = %q AND state = RETRYING`, waits):    {},
		fmt.Sprintf(`NOT task_id = %q`, waits):                     {dead, retries},
		fmt.Sprintf(`task_id = %q`, task.NewID()):                  {},
		fmt.Sprintf(`task_id = "%s*" AND task_id:%q`, waits, "-7"): {waits},
		`type = "` + otherType + `"`:                               {retries},
		`type:thumb`:                                               {dead, waits},
		`queue = "` + queuePrefix + otherType + `"`:                {retries},
		`queue = "` + queuePrefix + `*" AND queue:thumb`:           {dead, waits},
		`queue = "` + otherType + `"`:                              {},
		`state = QUEUED`:                                           {waits},
		`state = RETRYING`:                                         {retries},
		`state = DEAD_LETTERED`:                                    {dead},
		`state = DEAD_LETTERED AND state = QUEUED`:                 {},
		`state = DEAD_LETTERED AND run = 2`:                        {dead},
		`state != DEAD_LETTERED`:                                   {retries, waits},
		`state = SCHEDULED OR state = SUCCEEDED`:                   {},
		`cause = PERMANENT_FAILURE`:                                {dead},
		`-cause:*`:                                                 {retries, waits},
		`code = UNAVAILABLE`:                                       {retries},
		`code = INTERNAL`:                                          {dead},
		`code:*`:                                                   {dead, retries},
		`run = 2`:                                                  {dead},
		`attempt >= 1`:                                             {retries},
		`priority = HIGH`:                                          {retries, waits},
		`priority < 6`:                                             {dead},
		`trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"`:            {retries, waits},
		`trace_id = "4bf92f3577b34da6a3ce929d0e0e4736" AND -attempt = 0`: {retries},
		`trace_id = ""`:                                    {dead},
		`trace_id:*`:                                       {retries, waits},
		`labels.customer = acme`:                           {retries, waits},
		`labels.customer != acme`:                          {dead},
		`labels."größe":"<"`:                               {retries, waits},
		`labels:customer AND state = QUEUED`:               {waits},
		`labels.custom:*`:                                  {},
		`create_time = "2026-11-21T13:00:00.123456+01:00"`: {retries, waits},
		`create_time < "2026-11-21T12:00:00.123456Z"`:      {},
		`NOT create_time < "2100-01-01T00:00:00Z"`:         {dead},
		`expire_time > "2026-11-21T12:00:00Z"`:             {retries, waits},
		`next_attempt_time > "2026-11-21T12:00:00Z"`:       {retries},
		`start_time < "2000-01-01T00:00:00Z" OR end_time > "2026-11-21T12:00:00Z"`: {dead},
		`update_time > "2000-01-01T00:00:00Z"`:                                     all,
	} {
		require.Equal(t, want, filtered(t, s, text), text)
	}
}

func filtersSchedules(t *testing.T, s store.Store) {
	ids := newIDs(t, 4)
	waits, runs, other, plain := ids[0], ids[1], ids[2], ids[3]
	later := scheduled(waits, at(100)).Event
	later.Head.ScheduleID = "nightly"
	ran := scheduled(runs, at(200)).Event
	ran.Head.ScheduleID = "nightly"
	apply(t, s, later, ran, started(runs), scheduled(other, at(300)).Event, queued(plain))
	for text, want := range map[string][]string{
		`state = SCHEDULED`:                                             {other, waits},
		`state = SCHEDULED AND schedule_id = nightly`:                   {waits},
		`state = SCHEDULED AND schedule_time > "2026-11-21T12:03:00Z"`:  {other},
		`NOT state = SCHEDULED`:                                         {plain, runs},
		`schedule_id = nightly`:                                         {runs, waits},
		`schedule_id = "night*"`:                                        {other, runs, waits},
		`schedule_id = "*LY"`:                                           {},
		`schedule_id = "*ly"`:                                           {runs, waits},
		`schedule_id = ""`:                                              {plain},
		`schedule_id:*`:                                                 {other, runs, waits},
		`schedule_time <= "2026-11-21T12:03:20.123456Z"`:                {runs, waits},
		`schedule_time > "2026-11-21T12:03:20.123456Z" OR state=QUEUED`: {plain, other},
		`NOT schedule_time > "2000-01-01T00:00:00Z"`:                    {plain},
	} {
		require.Equal(t, want, filtered(t, s, text), text)
	}
}

func filtersAttempts(t *testing.T, s store.Store) {
	ids := newIDs(t, 4)
	retried, unstarted, purged, waits := ids[0], ids[1], ids[2], ids[3]
	other := inRun(1, started(retried))
	other.Key.Attempt, other.WorkerID = 2, "w-2"
	apply(t, s, started(retried), delivered(retried, task.PhaseRetrying), other)
	// It expired before its first start.
	apply(t, s, queued(unstarted), delivered(unstarted, task.PhaseDeadLettered))
	apply(t, s, started(purged), delivered(purged, task.PhaseRetrying), succeeded(purged))
	purgeAll(t, s)
	apply(t, s, inRun(2, queued(purged)), queued(waits))
	for text, want := range map[string][]string{
		`attempt.code = UNAVAILABLE`:                            {retried},
		`attempt.code = INTERNAL`:                               {},
		`attempt.code != UNAVAILABLE`:                           {waits, purged, unstarted},
		`attempt.code:*`:                                        {retried},
		`NOT attempt.code:*`:                                    {waits, purged, unstarted},
		`attempt.worker_id = "w-1"`:                             {retried},
		`attempt.worker_id = "w-2" AND attempt.worker_id:"W-1"`: {retried},
		`attempt.worker_id = "w-3" OR attempt.worker_id = "w*"`: {retried},
		`-attempt.worker_id:*`:                                  {waits, purged, unstarted},
		`attempt.worker_id = ""`:                                {},
		`attempt.trace_id = "00000000000000000000000000000001"`: {retried},
		`attempt.trace_id = "00000000000000000000000000000002"`: {},
		`attempt.trace_id:*`:                                    {retried},
	} {
		require.Equal(t, want, filtered(t, s, text), text)
	}
}

// takesValuesAsTheyAre: nothing in a value means anything to the engine.
func takesValuesAsTheyAre(t *testing.T, s store.Store) {
	for _, value := range []string{`%`, `_`, `[a-z]`, `?`, `'; DROP TABLE tasks; --`, `"`, `\`, `^`, `]`, `a[`, `$.a`, `<&>`, "\u2028é"} {
		ids := newIDs(t, 2)
		a, b := queued(ids[0]), queued(ids[1])
		a.Type, b.Type = value+"1", "x1"
		a.Head.Labels = map[string]string{value: value}
		apply(t, s, a, b)
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)
		for _, text := range []string{
			`type = ` + quoted + `1"`, `type = ` + quoted + `*"`, `type:` + quoted + `1"`,
			`labels.` + quoted + `" = ` + quoted + `"`, `labels:` + quoted + `"`,
		} {
			found := filtered(t, s, text)
			require.Contains(t, found, ids[0], text)
			require.NotContains(t, found, ids[1], text)
		}
	}
}

func takesLongFilter(t *testing.T, s store.Store) {
	apply(t, s, started(task.NewID()))
	for _, term := range []string{
		`run=2 OR `, `labels:a OR `, `-run=2 AND `, `type:zz OR `, `type=a* OR `, `attempt.code=INTERNAL OR `, `queue=a OR `, `task_id=a OR `,
	} {
		const last = `run=1`
		text := strings.Repeat(term, (filter.MaxBytes-len(last))/len(term)) + last
		require.Len(t, filtered(t, s, text), 1, text)
	}
	text := strings.Repeat(`labels:a OR `, 300) + `run=1`
	page := feed(t, s, store.FeedQuery{From: feedBegin(t, s), Filter: parse(t, text), Limit: 10})
	require.Len(t, page.Entries, 1)
	deep := strings.Repeat("-(run=2 OR ", filter.MaxDepth) + "run=1" + strings.Repeat(")", filter.MaxDepth)
	require.Len(t, filtered(t, s, deep), 1)
}

// anyFilter compares what a filter selects, of tasks and of events, with what it
// holds for, one by one.
func anyFilter(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	type event struct {
		id     string
		number int64
		state  task.State
	}
	var events []event
	tasks := map[string]task.Task{}
	histories := map[string][]task.NumberedEvent{}
	rapid.Check(t, func(t *rapid.T) {
		id := task.NewID()
		if len(apply(t, s, drawTask(t, id)...)) > 0 {
			now, err := s.Task(t.Context(), id)
			require.NoError(t, err)
			history, err := s.Events(t.Context(), id, 0, store.MaxEvents, false)
			require.NoError(t, err)
			tasks[id], histories[id] = now, history
			for _, e := range history {
				events = append(events, event{id, e.Number, e.State})
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "purge") == 0 {
			purgeAll(t, s)
			for id := range tasks {
				if _, err := s.Task(t.Context(), id); err != nil {
					require.ErrorIs(t, err, store.ErrNotFound)
					delete(tasks, id)
				}
			}
		}
		text := filtertest.Draw(t, 3, drawRestriction)
		f := parse(t, text)
		want := []string{}
		for id, one := range tasks {
			if holds(f, &one, histories[id], one.State) {
				want = append(want, id)
			}
		}
		limit := rapid.IntRange(40, 400).Draw(t, "limit")
		require.Equal(t, newestFirst(want...), list(t, s, store.Query{Filter: f, Limit: limit}), text)

		wantEvents := []event{}
		for _, e := range events {
			if one, ok := tasks[e.id]; ok && holds(f, &one, histories[e.id], e.state) {
				wantEvents = append(wantEvents, e)
			}
		}
		got := []event{}
		for _, e := range feedAll(t, s, store.FeedQuery{From: begin, Filter: f, Limit: limit}) {
			require.Equal(t, tasks[e.Task.ID], e.Task)
			got = append(got, event{e.Event.TaskID, e.Event.Number, e.Event.State})
		}
		require.Equal(t, wantEvents, got, text)
	})
}

// drawText draws a text that others contain, or nearly so.
func drawText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "b", "A", "ab", ".", "É", "é", "%", "_", "[a]", "?", "'", " ",
	}), 0, 4).Draw(t, "text"), "")
}

// drawTask draws the events of a task.
func drawTask(t *rapid.T, id string) []task.Event {
	taskType := "t" + drawText(t)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) task.Event {
		e := event(id, drawKey(t))
		e.Type, e.Time = taskType, at(rapid.IntRange(0, 3).Draw(t, "time"))
		if e.Key.Phase == task.PhaseStarted {
			e.WorkerID = drawText(t)
		}
		if e.Head != nil {
			e.Head.TraceID, e.Head.Priority = drawText(t), rapid.IntRange(1, 9).Draw(t, "priority")
			e.Head.CreateTime, e.Head.ScheduleID = at(rapid.IntRange(0, 3).Draw(t, "create")), drawText(t)
			e.Head.Labels = rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c.d"}), rapid.Custom(drawText), 0, 2).Draw(t, "labels")
		}
		if !e.ScheduleTime.IsZero() {
			e.ScheduleTime = at(rapid.IntRange(0, 3).Draw(t, "schedule"))
		}
		if e.Failure != nil {
			e.Failure.Code = rapid.SampledFrom([]int{0, 2, 13, 14}).Draw(t, "code")
		}
		return e
	}), 1, 5).Draw(t, "events")
}

// drawRestriction draws what a filter consists of.
func drawRestriction(t *rapid.T) string {
	order := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "order")
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{
			"state = QUEUED", "state = DEAD_LETTERED", "state = SCHEDULED", "schedule_id:*", "state != RUNNING", "state = SUCCEEDED", "cause:*", "cause != REJECTED", "code = INTERNAL",
			"code = UNAVAILABLE", "code:*", "code != UNKNOWN", "attempt.code = INTERNAL", "attempt.code != UNKNOWN", "attempt.code:*",
			"labels:a", `labels:"c.d"`, "labels.c.d:*", "task_id:*", `task_id = "*7*"`,
		}).Draw(t, "name")
	case 1:
		field := rapid.SampledFrom([]string{"run", "attempt", "priority"}).Draw(t, "field")
		return fmt.Sprintf("%s %s %d", field, order, rapid.IntRange(-1, 6).Draw(t, "value"))
	case 2:
		field := rapid.SampledFrom([]string{
			"create_time", "start_time", "end_time", "update_time", "expire_time", "next_attempt_time", "schedule_time",
		}).Draw(t, "field")
		return fmt.Sprintf("%s %s %q", field, order, at(rapid.IntRange(-1, 4).Draw(t, "value")).Format(time.RFC3339Nano))
	}
	field := rapid.SampledFrom([]string{"type", "queue", "trace_id", "schedule_id", "attempt.worker_id", "attempt.trace_id", "labels.a", "labels.c.d"}).Draw(t, "field")
	operator := rapid.SampledFrom([]string{"=", "!=", ":"}).Draw(t, "operator")
	value := rapid.SampledFrom([]string{"%s", "*%s", "%s*", "*%s*", "t%s", "warren.work.t%s", "a*%s", "**%s"}).Draw(t, "wildcards")
	return field + operator + `"` + strings.Replace(value, "%s", drawText(t), 1) + `"`
}
