package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

const (
	scheduleCount = 1000
	scheduleSpan  = 30 * time.Second
	// scheduleKills is how often the gateway is killed, and its clock jumps.
	scheduleKills = 3
)

// faultClock is a gateway whose clock tests can set off from the machine's, by the
// seconds in a file.
var faultClock = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(gatewayBinary), "gateway-faultclock")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-tags", "faultclock", "-o", program, "../gateway").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return program, nil
})

// TestControlSchedulesFireOnce: each firing of a thousand schedules is one task that
// is started once, though the gateway is killed three times and the clock jumps.
func TestControlSchedulesFireOnce(t *testing.T) {
	t.Parallel()
	program, err := faultClock()
	require.NoError(t, err)
	clock := filepath.Join(t.TempDir(), "clock")
	jump := func(seconds int) { require.NoError(t, os.WriteFile(clock, []byte(strconv.Itoa(seconds)), 0o600)) }
	jump(0)
	p, _ := onVHost(t, withEnv("FAULT_CLOCK="+clock), func(p *platform) { p.program = program })
	p.startWorker(t, "--concurrency", "32")
	p.awaitReady(t, typeDelay)
	p.schedule(t, scheduleCount, 10*time.Second)

	r := rand.New(rand.NewPCG(uint64(*baseSeed), 300))
	for i, seconds := range []int{25, -40, 0} {
		require.NoError(t, wait(t.Context(), scheduleSpan/scheduleKills/2+time.Duration(r.Int64N(int64(2*time.Second)))))
		p.gateway.kill()
		jump(seconds)
		p.startGateway(t)
		require.NoError(t, wait(t.Context(), scheduleSpan/scheduleKills/2))
		t.Logf("kill %d, the clock is off by %d s: %d tasks started", i+1, seconds, p.recorder.tasks())
	}
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 20*time.Second)
	firings := p.stopSchedules(t)
	p.awaitEnded(t)

	times := map[string]bool{}
	for _, f := range firings {
		key := f.schedule + f.Time.AsTime().String()
		require.False(t, times[key], "%s fired twice for %v", f.schedule, f.Time.AsTime())
		times[key] = true
		require.Equal(t, []start{{1, 1}}, p.recorder.of(f.TaskId), "%s at %v", f.schedule, f.Time.AsTime())
	}
	tasks := p.listAll(t, "", func() {})
	require.Len(t, tasks, len(firings), "each firing is one task, and each task one firing")
	require.Equal(t, len(tasks), p.recorder.all(), "each is started once")
	require.Greater(t, len(firings), 2*scheduleCount)
	for _, task := range tasks {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, task.State)
		require.NotEmpty(t, task.ScheduleId)
	}
	t.Logf("%d firings of %d schedules", len(firings), scheduleCount)
}

// schedule makes schedules with an interval.
func (p *platform) schedule(t testing.TB, n int, interval time.Duration) {
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error {
			_, err := p.admin.CreateSchedule(ctx, &adminv1.CreateScheduleRequest{Schedule: &adminv1.Schedule{
				ScheduleId: fmt.Sprintf("drill-%04d", i), When: &adminv1.Schedule_Interval{Interval: durationpb.New(interval)},
				Task: &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))}, Jitter: durationpb.New(time.Second),
			}})
			return err
		})
	}
	require.NoError(t, g.Wait())
}

// firing is one firing of a schedule that submitted a task.
type firing struct {
	schedule string
	*adminv1.Firing
}

// stopSchedules pauses all schedules, and gives their firings.
func (p *platform) stopSchedules(t testing.TB) (fired []firing) {
	for token := ""; ; {
		r, err := p.admin.ListSchedules(t.Context(), &adminv1.ListSchedulesRequest{PageSize: 500, PageToken: token})
		require.NoError(t, err)
		for _, s := range r.Schedules {
			_, err := p.admin.PauseSchedule(t.Context(), &adminv1.PauseScheduleRequest{ScheduleId: s.ScheduleId, Reason: "the drill is over"})
			require.NoError(t, err)
			shown, err := p.admin.GetSchedule(t.Context(), &adminv1.GetScheduleRequest{ScheduleId: s.ScheduleId})
			require.NoError(t, err)
			require.Empty(t, shown.Schedule.NextTimes)
			require.Less(t, len(shown.Schedule.Firings), 20, "none may be forgotten yet")
			for _, f := range shown.Schedule.Firings {
				if f.Outcome == adminv1.FiringOutcome_FIRING_OUTCOME_FIRED {
					fired = append(fired, firing{s.ScheduleId, f})
				}
			}
		}
		if token = r.NextPageToken; token == "" {
			return fired
		}
	}
}

// awaitEnded waits until all tasks have.
func (p *platform) awaitEnded(t testing.TB) {
	t.Helper()
	brokertest.Eventually(t, 60*time.Second, func() error {
		if open := p.listAll(t, "-(state = SUCCEEDED OR state = CANCELLED OR state = DEAD_LETTERED)", func() {}); len(open) > 0 {
			return fmt.Errorf("%d tasks have not ended, %v", len(open), open[0])
		}
		return nil
	})
}

// TestControlSchedule: a schedule's life, as an operator has it.
func TestControlSchedule(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	task := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(5*time.Second)), Labels: map[string]string{"by": "schedule"}}
	create := func(id, cron, zone string, edit func(*adminv1.Schedule)) (*adminv1.Schedule, error) {
		s := &adminv1.Schedule{ScheduleId: id, When: &adminv1.Schedule_Cron{Cron: cron}, TimeZone: zone, Task: task}
		if edit != nil {
			edit(s)
		}
		r, err := p.admin.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Schedule: s})
		return r.GetSchedule(), err
	}
	nightly, err := create("nightly", "30 2 * * *", "Europe/Berlin", nil)
	require.NoError(t, err)
	require.Len(t, nightly.NextTimes, 5)
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, next := range nightly.NextTimes {
		require.True(t, next.AsTime().After(time.Now()))
		require.Contains(t, []string{"02:30", "03:00"}, next.AsTime().In(berlin).Format("15:04"))
	}
	_, err = create("nightly", "30 2 * * *", "", nil)
	require.Equal(t, codes.AlreadyExists, status.Code(err))
	requireReason(t, err, "SCHEDULE_EXISTS")

	for name, c := range map[string]struct{ cron, zone, field, position string }{
		"hour":   {"0 25 * * *", "", "schedule.cron", "3"},
		"fields": {"0 2 * *", "", "schedule.cron", ""},
		"month":  {"0 2 1 XYZ *", "", "schedule.cron", "7"},
		"zone":   {"0 2 * * *", "Europe/Atlantis", "schedule.time_zone", ""},
	} {
		_, err := create("bad", c.cron, c.zone, nil)
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
		require.Equal(t, c.field, badField(t, err), name)
		require.Contains(t, status.Convert(err).Message(), c.position, name)
	}

	fire := func(id string) string {
		r, err := p.admin.TriggerSchedule(t.Context(), &adminv1.TriggerScheduleRequest{ScheduleId: id})
		require.NoError(t, err)
		require.True(t, r.Firing.Triggered)
		return r.Firing.TaskId
	}
	first := fire("nightly")
	shown := p.awaitState(t, first, taskv1.TaskState_TASK_STATE_RUNNING)
	require.Equal(t, "nightly", shown.ScheduleId)
	require.Equal(t, map[string]string{"by": "schedule"}, shown.Labels)

	// One that does not overlap skips while its last task runs.
	_, err = create("often", "", "", func(s *adminv1.Schedule) {
		s.When = &adminv1.Schedule_Interval{Interval: durationpb.New(time.Second)}
		s.Overlap = adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP
	})
	require.NoError(t, err)
	outcomes := func() (all []adminv1.FiringOutcome) {
		r, err := p.admin.GetSchedule(t.Context(), &adminv1.GetScheduleRequest{ScheduleId: "often"})
		require.NoError(t, err)
		for _, f := range r.Schedule.Firings {
			all = append(all, f.Outcome)
		}
		return all
	}
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(outcomes()) >= 4 })
	all := outcomes()
	slices.Reverse(all)
	require.Equal(t, adminv1.FiringOutcome_FIRING_OUTCOME_FIRED, all[0])
	require.Equal(t, slices.Repeat([]adminv1.FiringOutcome{adminv1.FiringOutcome_FIRING_OUTCOME_SKIPPED}, 3), all[1:4])

	paused, err := p.admin.PauseSchedule(t.Context(), &adminv1.PauseScheduleRequest{ScheduleId: "often", Reason: "too often"})
	require.NoError(t, err)
	require.True(t, paused.Schedule.Paused)
	require.Equal(t, "too often", paused.Schedule.PauseReason)
	_, err = p.admin.UpdateSchedule(t.Context(), &adminv1.UpdateScheduleRequest{
		Schedule:   &adminv1.Schedule{ScheduleId: "often", Etag: "other", When: &adminv1.Schedule_Cron{Cron: "@hourly"}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"cron"}},
	})
	requireReason(t, err, "ETAG_MISMATCH")
	updated, err := p.admin.UpdateSchedule(t.Context(), &adminv1.UpdateScheduleRequest{
		Schedule:   &adminv1.Schedule{ScheduleId: "often", Etag: paused.Schedule.Etag, When: &adminv1.Schedule_Cron{Cron: "@hourly"}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"cron"}},
	})
	require.NoError(t, err)
	require.Equal(t, "@hourly", updated.Schedule.GetCron())
	resumed, err := p.admin.ResumeSchedule(t.Context(), &adminv1.ResumeScheduleRequest{ScheduleId: "often"})
	require.NoError(t, err)
	require.Zero(t, resumed.Schedule.NextTimes[0].AsTime().Minute())
	_, err = p.admin.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "often"})
	require.NoError(t, err)
	_, err = p.admin.GetSchedule(t.Context(), &adminv1.GetScheduleRequest{ScheduleId: "often"})
	requireReason(t, err, "SCHEDULE_NOT_FOUND")
}

// TestControlLater: a task that waits for its time can be changed, started and read
// until it has come.
func TestControlLater(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	later := func(when time.Time) *taskv1.Task {
		return p.ask(t, typeDelay, delay(0), func(r *taskv1.SubmitTaskRequest) { r.ScheduleTime = timestamppb.New(when) })
	}
	past := later(time.Now().Add(-time.Hour))
	require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, past.State, "a time in the past is now")
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, past.TaskId).State)

	due := time.Now().Add(3 * time.Second)
	soon, far := later(due), later(time.Now().AddDate(0, 6, 0))
	require.Equal(t, taskv1.TaskState_TASK_STATE_SCHEDULED, far.State)
	done := p.await(t, soon.TaskId)
	require.WithinRange(t, done.StartTime.AsTime(), due, due.Add(2*time.Second))
	require.Equal(t, []string{"SCHEDULED", "QUEUED", "STARTED", "SUCCEEDED"}, p.kinds(t, soon))

	update := func(id, etag string, u *taskv1.TaskUpdate, paths ...string) (*taskv1.Task, error) {
		r, err := p.tasks.UpdateTask(t.Context(), &taskv1.UpdateTaskRequest{TaskId: id, Etag: etag, Update: u, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return r.GetTask(), err
	}
	changed, err := update(far.TaskId, far.Etag, &taskv1.TaskUpdate{
		ScheduleTime: timestamppb.New(time.Now().Add(time.Hour)), Priority: taskv1.Priority_PRIORITY_HIGH, Labels: map[string]string{"a": "b"},
	}, "schedule_time", "priority", "labels")
	require.NoError(t, err)
	require.Equal(t, taskv1.Priority_PRIORITY_HIGH, changed.Priority)
	require.Equal(t, map[string]string{"a": "b"}, changed.Labels)
	require.NotEqual(t, far.Etag, changed.Etag)
	_, err = update(far.TaskId, far.Etag, &taskv1.TaskUpdate{}, "labels")
	requireReason(t, err, "ETAG_MISMATCH")
	_, err = update(done.TaskId, "", &taskv1.TaskUpdate{Priority: taskv1.Priority_PRIORITY_LOW}, "priority")
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, "SUCCEEDED", requireReason(t, err, "TASK_STATE").Metadata["state"])

	_, err = p.tasks.RunTaskNow(t.Context(), &taskv1.RunTaskNowRequest{TaskId: far.TaskId})
	require.NoError(t, err)
	ran := p.await(t, far.TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, ran.State)
	require.Equal(t, taskv1.Priority_PRIORITY_HIGH, ran.Priority)
	require.Equal(t, map[string]string{"a": "b"}, ran.Labels)
	require.Equal(t, []string{"SCHEDULED", "UPDATED", "UPDATED", "QUEUED", "STARTED", "SUCCEEDED"}, p.kinds(t, far))
	_, err = p.tasks.RunTaskNow(t.Context(), &taskv1.RunTaskNowRequest{TaskId: far.TaskId})
	requireReason(t, err, "TASK_STATE")

	// Labels can change for as long as it has not ended.
	running := p.submit(t, typeDelay, delay(3*time.Second))
	p.awaitState(t, running.TaskId, taskv1.TaskState_TASK_STATE_RUNNING)
	relabelled, err := update(running.TaskId, "", &taskv1.TaskUpdate{Labels: map[string]string{"seen": "yes"}}, "labels")
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_RUNNING, relabelled.State)
	require.Equal(t, map[string]string{"seen": "yes"}, p.await(t, running.TaskId).Labels)
}

// kinds are the kinds of a task's events.
func (p *platform) kinds(t testing.TB, submitted *taskv1.Task) (kinds []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := p.tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{TaskId: submitted.TaskId, ResumeToken: submitted.ResumeToken})
	require.NoError(t, err)
	for {
		m, err := stream.Recv()
		if err != nil {
			require.NoError(t, ctx.Err())
			return kinds
		}
		if e := m.GetEvent(); e != nil {
			kinds = append(kinds, strings.TrimPrefix(e.Kind.String(), "EVENT_KIND_"))
		}
	}
}
