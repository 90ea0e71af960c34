package control

import (
	"context"
	"errors"
	"maps"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// scalePeriod is the time between two steps.
	scalePeriod = 2 * time.Second
	// scaleLag lets no two replicas both make the same step.
	scaleLag = scalePeriod * 3 / 4
	// enoughSamples in a row with too many slots have them halved, with too few doubled.
	enoughSamples = 3
)

// load is what the slots of a task type follow.
type load struct {
	min, max int
	// slots is what each worker should have now.
	slots int
	// ready tasks wait; all live workers together should have total slots, and run
	// running tasks.
	ready          int64
	total, running int
	streak
}

// streak counts samples in a row: those that have shown too many slots, and those in
// which all were in use while tasks waited.
type streak struct{ idle, full int }

// next is how many slots each worker should have from now on, and the samples in a row.
func (l load) next() (int, streak) {
	within := func(n int) int { return min(max(n, l.min), l.max) }
	switch {
	case l.slots != within(l.slots):
		return within(l.slots), streak{}
	case l.total == 0:
		// There is nobody to follow.
		return l.slots, streak{}
	case l.ready > int64(l.total):
		return within(l.slots * 2), streak{}
	case l.ready > 0 && l.running >= l.total:
		if l.full+1 < enoughSamples {
			return l.slots, streak{full: l.full + 1}
		}
		return within(l.slots * 2), streak{}
	case l.ready > 0 || 2*l.running >= l.total:
		return l.slots, streak{}
	case l.idle+1 < enoughSamples:
		return l.slots, streak{idle: l.idle + 1}
	}
	return within(l.slots / 2), streak{}
}

// startScale is where autoscaling begins: at the fewest slots with which what runs
// goes on.
func startScale(a *brokerv1.Autoscale, mostRunning int) int {
	return min(max(mostRunning, int(a.Min)), int(a.Max))
}

// mostRunning is how many tasks of a type the busiest live worker runs.
func (c *Control) mostRunning(taskType string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := 0
	for _, w := range c.workers {
		if w.gone.IsZero() {
			most = max(most, int(w.load(taskType).GetRunning()))
		}
	}
	return most
}

func (w *worker) load(taskType string) *brokerv1.TypeLoad {
	for _, l := range w.beat.GetTypes() {
		if l.Type == taskType {
			return l
		}
	}
	return nil
}

// scaleAll has the slots of the task types that are scaled follow their backlogs.
func (c *Control) scaleAll(ctx context.Context) {
	for _, taskType := range c.scaled(time.Now()) {
		if err := c.scale(ctx, taskType); err != nil && !errors.Is(err, store.ErrChanged) {
			c.warn(ctx, "slots can't be made to follow the backlog now", err)
		}
	}
}

// scaled are the task types to scale now. The slots of one that is paused stay.
func (c *Control) scaled(now time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for key, s := range c.settings {
		if key.workerID == "" && s.value.Autoscale != nil && !inForce(s.value.Pause, now) && now.Sub(s.at) >= scaleLag {
			out = append(out, key.taskType)
		}
	}
	return out
}

func (c *Control) scale(ctx context.Context, taskType string) error {
	ready, ok := c.cfg.Backlog(ctx, taskType)
	if !ok {
		return nil
	}
	l, ok := c.loadOf(taskType, time.Now())
	if !ok {
		return nil
	}
	l.ready = ready
	slots, samples := l.next()
	c.noteStreak(taskType, samples)
	if slots == l.slots {
		return nil
	}
	_, err := c.change(ctx, settingKey{taskType: taskType}, "", func(v *brokerv1.TypeControl) {
		if v.Autoscale != nil && int(v.Concurrency) == l.slots {
			v.Concurrency = int32(slots)
		}
	})
	if err == nil {
		c.cfg.Logger.InfoContext(ctx, "slots follow the backlog", "task_type", taskType, "from", l.slots, "to", slots,
			"ready", ready, "running", l.running, "total", l.total)
	}
	return err
}

// noteStreak notes the samples of a type that still is scaled.
func (c *Control) noteStreak(taskType string, samples streak) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.autoscale(taskType) != nil {
		c.streaks[taskType] = samples
	}
}

// dropStreaks forgets the samples of types that are not scaled any more: one that is
// scaled anew begins without any.
func (c *Control) dropStreaks() {
	maps.DeleteFunc(c.streaks, func(taskType string, _ streak) bool { return c.autoscale(taskType) == nil })
}

// autoscale has the bounds between which the slots of a type follow its backlog; nil if
// they do not.
func (c *Control) autoscale(taskType string) *brokerv1.Autoscale {
	if s := c.settings[settingKey{taskType: taskType}]; s != nil {
		return s.value.Autoscale
	}
	return nil
}

// loadOf is the load without the backlog, of workers that take tasks; false if the type
// is not scaled.
func (c *Control) loadOf(taskType string, now time.Time) (load, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bounds := c.autoscale(taskType)
	if bounds == nil {
		return load{}, false
	}
	l := load{
		min: int(bounds.Min), max: int(bounds.Max), slots: int(c.settings[settingKey{taskType: taskType}].value.Concurrency),
		streak: c.streaks[taskType],
	}
	for _, w := range c.workers {
		if !w.gone.IsZero() || !w.types[taskType] || w.beat.GetDraining() || w.silentFor(now) > maxSilence {
			continue
		}
		tl := w.load(taskType)
		slots, _ := c.desired(w.id, taskType, int(tl.GetConfigured()))
		l.total, l.running = l.total+slots, l.running+int(tl.GetRunning())
	}
	return l, true
}
