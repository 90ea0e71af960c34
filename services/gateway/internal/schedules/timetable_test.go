package schedules

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

var created = time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)

func each(d time.Duration) *adminv1.Schedule {
	return &adminv1.Schedule{When: &adminv1.Schedule_Interval{Interval: durationpb.New(d)}, CreateTime: timestamppb.New(created)}
}

func byCron(text string) *adminv1.Schedule {
	return &adminv1.Schedule{When: &adminv1.Schedule_Cron{Cron: text}, CreateTime: timestamppb.New(created)}
}

func compile(t require.TestingT, s *adminv1.Schedule) *Timetable {
	table, err := Compile(s)
	require.NoError(t, err)
	return table
}

func TestStartAndEnd(t *testing.T) {
	t.Parallel()
	s := each(time.Hour)
	require.Equal(t, created.Add(time.Hour), compile(t, s).Next(created), "from when it was made")
	start := created.Add(90 * time.Minute)
	s.StartTime, s.EndTime = timestamppb.New(start), timestamppb.New(start.Add(2*time.Hour))
	require.Equal(t, []time.Time{start, start.Add(time.Hour), start.Add(2 * time.Hour)}, compile(t, s).Upcoming(compile(t, s).Next(created), 9))
	require.Equal(t, start.Add(time.Hour), compile(t, s).Next(start))

	s = byCron("0 12 * * *")
	s.StartTime = timestamppb.New(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	s.EndTime = timestamppb.New(time.Date(2026, 6, 2, 12, 0, 0, 0, time.UTC))
	table := compile(t, s)
	require.Equal(t, []time.Time{s.StartTime.AsTime(), s.EndTime.AsTime()}, table.Upcoming(table.Next(created), 5))
	require.Empty(t, table.Upcoming(time.Time{}, 5))
	require.Zero(t, compile(t, byCron("0 0 30 2 *")).Next(created), "never")
}

func TestStepsOfAnyLength(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		step := time.Duration(rapid.Int64Range(int64(time.Second), int64(1000*24*time.Hour)).Draw(t, "step"))
		table := compile(t, each(step))
		at := created.Add(time.Duration(rapid.Int64Range(-1e15, 1e17).Draw(t, "from")))
		for range 5 {
			next := table.Next(at)
			require.True(t, next.After(at))
			require.Zero(t, next.Sub(created)%step.Truncate(time.Microsecond))
			if at.After(created) {
				require.LessOrEqual(t, next.Sub(at), step)
			}
			at = next
		}
	})
}

func TestWhatMakesNoSenseNamesItsField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit  func(*adminv1.Schedule)
		field string
	}{
		"nothing":          {func(s *adminv1.Schedule) { s.When = nil }, "cron"},
		"cron":             {func(s *adminv1.Schedule) { s.When = byCron("x").When }, "cron"},
		"short":            {func(s *adminv1.Schedule) { s.When = each(time.Millisecond).When }, "interval"},
		"zone":             {func(s *adminv1.Schedule) { s.TimeZone = "Europe/Atlantis" }, "time_zone"},
		"zone as a path":   {func(s *adminv1.Schedule) { s.TimeZone = "../etc/passwd" }, "time_zone"},
		"the machine's":    {func(s *adminv1.Schedule) { s.TimeZone = "Local" }, "time_zone"},
		"start":            {func(s *adminv1.Schedule) { s.StartTime = &timestamppb.Timestamp{Nanos: -1} }, "start_time"},
		"long ago":         {func(s *adminv1.Schedule) { s.StartTime = &timestamppb.Timestamp{Seconds: -1} }, "start_time"},
		"end":              {func(s *adminv1.Schedule) { s.EndTime = &timestamppb.Timestamp{Seconds: 1 << 60} }, "end_time"},
		"end before start": {func(s *adminv1.Schedule) { s.StartTime, s.EndTime = timestamppb.Now(), s.CreateTime }, "end_time"},
		"jitter":           {func(s *adminv1.Schedule) { s.Jitter = durationpb.New(time.Minute) }, "jitter"},
		"jitter of cron": {func(s *adminv1.Schedule) {
			s.When, s.Jitter = byCron("0,30 3 * * *").When, durationpb.New(30*time.Minute)
		}, "jitter"},
	} {
		t.Run(name, func(t *testing.T) {
			s := each(time.Minute)
			c.edit(s)
			_, err := Compile(s)
			var bad *policy.FieldError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.field, bad.Field)
		})
	}
}

func TestJitterAndIDsFollowFromScheduleAndTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := each(2 * time.Hour)
		s.Jitter = durationpb.New(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "jitter")))
		table := compile(t, s)
		id := rapid.StringMatching(`[a-z]{1,10}`).Draw(t, "id")
		at := time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC()
		due := table.dueTime(id, at)
		require.Equal(t, due, table.dueTime(id, at))
		require.False(t, due.Before(at))
		require.True(t, due.Equal(at) || due.Before(at.Add(s.Jitter.AsDuration())))

		first := taskID(id, at)
		require.Equal(t, first, taskID(id, at))
		u, err := uuid.Parse(first)
		require.NoError(t, err)
		require.EqualValues(t, 7, u.Version())
		require.Equal(t, uuid.RFC4122, u.Variant())
		sec, ns := u.Time().UnixTime()
		require.Equal(t, at.UnixMilli(), time.Unix(sec, ns).UnixMilli(), "it sorts by its time")
		require.NotEqual(t, first, taskID(id, at.Add(time.Microsecond)))
		require.NotEqual(t, first, taskID(id+"x", at))
		require.NotEqual(t, triggeredID(id, "r", at), triggeredID(id, "s", at))
	})
	var spread [4]int
	s := each(2 * time.Hour)
	s.Jitter = durationpb.New(time.Hour)
	table := compile(t, s)
	for i := range 4000 {
		spread[table.dueTime(fmt.Sprint("schedule ", i), created).Sub(created)/(15*time.Minute)]++
	}
	for _, n := range spread {
		require.InDelta(t, 1000, n, 150)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const last, none = adminv1.CatchUpPolicy_CATCH_UP_POLICY_LAST, adminv1.CatchUpPolicy_CATCH_UP_POLICY_NONE
	hours := func(n int) time.Time { return created.Add(time.Duration(n) * time.Hour) }
	table := compile(t, each(time.Hour))
	for name, c := range map[string]struct {
		now     time.Time
		catchUp adminv1.CatchUpPolicy
		want    []step
	}{
		"in time":         {hours(1), last, []step{{at: hours(1), next: hours(2)}}},
		"a little late":   {hours(1).Add(late), none, []step{{at: hours(1), next: hours(2)}}},
		"late, none":      {hours(1).Add(late + time.Microsecond), none, []step{{at: hours(1), next: hours(2), missed: "1 time was missed"}}},
		"late, last":      {hours(1).Add(late + time.Microsecond), last, []step{{at: hours(1), next: hours(2)}}},
		"unspecified":     {hours(2).Add(-time.Second), 0, []step{{at: hours(1), next: hours(2)}}},
		"several, none":   {hours(5).Add(-time.Second), none, []step{{at: hours(1), next: hours(5), missed: "4 times in a row were missed"}}},
		"several, last":   {hours(5).Add(-time.Second), last, []step{{at: hours(1), next: hours(4), missed: "3 times in a row were missed"}, {at: hours(4), next: hours(5)}}},
		"the last is now": {hours(3), last, []step{{at: hours(1), next: hours(3), missed: "2 times in a row were missed"}, {at: hours(3), next: hours(4)}}},
		"years": {hours(100_000).Add(time.Hour / 2), last, []step{
			{at: hours(1), next: hours(100_000), missed: fmt.Sprintf("at least %d times in a row were missed", maxCounted)}, {at: hours(100_000), next: hours(100_001)},
		}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, table.plan(hours(1), c.now, c.catchUp)) })
	}
}

// TestNoTimeIsLostOrTwice: whatever has passed, the steps lead from time to time, and
// what is fired or missed is each of them once.
func TestNoTimeIsLostOrTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom([]*adminv1.Schedule{each(time.Second), each(7 * time.Minute), byCron("* 3 * * *"), byCron("0 0 1 * *"), byCron("*/5 * * * 1-5")}).Draw(t, "schedule")
		if rapid.Bool().Draw(t, "ends") {
			s.EndTime = timestamppb.New(created.Add(time.Duration(rapid.Int64Range(int64(time.Hour), int64(100*24*time.Hour)).Draw(t, "end"))))
		}
		table := compile(t, s)
		due := table.Next(created)
		for range 5 {
			if due.IsZero() {
				return
			}
			now := due.Add(time.Duration(rapid.Int64Range(0, int64(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 60 * 24 * time.Hour}).Draw(t, "scale"))).Draw(t, "late")))
			steps := table.plan(due, now, rapid.SampledFrom([]adminv1.CatchUpPolicy{1, 2}).Draw(t, "catch up"))
			fired := 0
			for _, step := range steps {
				require.Equal(t, due, step.at)
				if step.missed == "" {
					fired++
					require.Equal(t, table.Next(step.at), step.next)
				} else {
					require.True(t, step.at.Before(now.Add(-late)))
				}
				require.True(t, step.next.IsZero() || step.next.After(step.at))
				due = step.next
			}
			require.LessOrEqual(t, fired, 1)
			if len(steps) > 1 {
				require.True(t, due.IsZero() || due.After(now), "one stands for all")
			}
			require.True(t, due.IsZero() || !due.Before(now.Add(-late)), "nothing that is missed is left")
		}
	})
}
