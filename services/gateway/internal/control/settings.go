package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxRaces is how often a change is made anew to what somebody else has set
// meanwhile.
const maxRaces = 5

// settingKey says whom a setting is for; without a worker it is for all.
type settingKey struct{ taskType, workerID string }

// setting is what operators have set. It is never changed.
type setting struct {
	version int64
	value   *brokerv1.TypeControl
	reason  string
	at      time.Time
}

// Reread reads what is set now. Errors: as of store.Store's Controls.
func (c *Control) Reread(ctx context.Context) error {
	unlock, err := c.lockSettings(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return c.refreshSettings(ctx)
}

// lockSettings keeps others from reading and from changing what is set, so that what was
// read earlier does not come later.
func (c *Control) lockSettings(ctx context.Context) (unlock func(), err error) {
	select {
	case c.setting <- struct{}{}:
		return func() { <-c.setting }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for who reads or changes what operators have set: %w", context.Cause(ctx))
	}
}

// refreshSettings reads what is set. The caller has locked the settings.
func (c *Control) refreshSettings(ctx context.Context) error {
	rows, err := c.cfg.Store.Controls(ctx)
	if err != nil {
		return fmt.Errorf("read what operators have set: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := make(map[settingKey]*setting, len(rows))
	for i := range rows {
		r := &rows[i]
		key := settingKey{r.TaskType, r.WorkerID}
		if known := c.settings[key]; known != nil && known.version == r.Version {
			fresh[key] = known
			continue
		}
		value := &brokerv1.TypeControl{}
		if err := proto.Unmarshal(r.Encoded, value); err != nil {
			c.cfg.Logger.Error("what operators have set can't be decoded, it is not in force", "task_type", r.TaskType, "worker_id", r.WorkerID, "error", err)
			value = &brokerv1.TypeControl{}
		}
		fresh[key] = &setting{version: r.Version, value: value, reason: r.Reason, at: r.Time}
	}
	c.settings = fresh
	c.dropStreaks()
	return nil
}

// change changes what is set, and tells it to the workers: those that can't be told
// now learn it with their next heartbeats. An empty reason leaves the last one.
func (c *Control) change(ctx context.Context, key settingKey, reason string, edit func(*brokerv1.TypeControl)) (*setting, error) {
	s, err := c.set(ctx, key, reason, edit)
	if err != nil {
		return nil, err
	}
	if err := c.cfg.Tell(ctx, key.taskType); err != nil {
		c.warn(ctx, "workers can't be told now what was set, they learn it with their heartbeats", err)
	}
	return s, nil
}

// set stores a change of what is set, anew if somebody else has changed it meanwhile.
func (c *Control) set(ctx context.Context, key settingKey, reason string, edit func(*brokerv1.TypeControl)) (*setting, error) {
	unlock, err := c.lockSettings(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range maxRaces {
		c.mu.Lock()
		known := c.settings[key]
		c.mu.Unlock()
		next := edited(known, reason, time.Now(), edit)
		err := bounded(ctx, func(ctx context.Context) error { return c.put(ctx, key, next) })
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.settings[key] = next
			c.dropStreaks()
			return next, nil
		}
		if !errors.Is(err, store.ErrChanged) {
			return nil, err
		}
		if err := bounded(ctx, c.refreshSettings); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("set control of %s: %w", key.taskType, store.ErrChanged)
}

func edited(known *setting, reason string, now time.Time, edit func(*brokerv1.TypeControl)) *setting {
	next := &setting{version: 1, value: &brokerv1.TypeControl{}, reason: reason, at: now.UTC().Truncate(time.Microsecond)}
	if known != nil {
		next.version, next.value = known.version+1, proto.CloneOf(known.value)
		if reason == "" {
			next.reason = known.reason
		}
	}
	edit(next.value)
	return next
}

func (c *Control) put(ctx context.Context, key settingKey, s *setting) error {
	encoded, err := proto.Marshal(s.value)
	if err != nil {
		return fmt.Errorf("encode control of %s: %w", key.taskType, err)
	}
	err = c.cfg.Store.PutControl(ctx, store.Control{
		TaskType: key.taskType, WorkerID: key.workerID, Version: s.version, Encoded: encoded, Reason: s.reason, Time: s.at,
	})
	if err != nil {
		return fmt.Errorf("set control of %s: %w", key.taskType, err)
	}
	return nil
}

// SetPause pauses a task type, or has it go on if p is nil. Errors: as of
// store.Store's PutControl.
func (c *Control) SetPause(ctx context.Context, taskType string, p *brokerv1.Pause, reason string) (*adminv1.TypeControl, error) {
	key := settingKey{taskType: taskType}
	s, err := c.change(ctx, key, reason, func(v *brokerv1.TypeControl) {
		v.Pause, v.PauseTime = p, nil
		if p != nil {
			v.PauseTime = timestamppb.Now()
		}
	})
	if err != nil {
		return nil, err
	}
	return s.show(key, time.Now()), nil
}

// SetConcurrency sets the slots of each worker for a task type, 0 for as each is
// configured, or two bounds between which they follow the backlog. With a worker it
// is for that alone, as long as it lives, and there must be no bounds. Errors:
// [ErrNoWorker]; as of store.Store's PutControl.
func (c *Control) SetConcurrency(ctx context.Context, taskType, workerID string, n int, a *brokerv1.Autoscale, reason string) (*adminv1.TypeControl, error) {
	key := settingKey{taskType, spelled(workerID)}
	if key.workerID != "" {
		c.mu.Lock()
		w := c.workers[key.workerID]
		live := w != nil && w.gone.IsZero()
		c.mu.Unlock()
		if !live {
			return nil, ErrNoWorker
		}
	}
	s, err := c.change(ctx, key, reason, func(v *brokerv1.TypeControl) {
		v.Concurrency, v.Autoscale = int32(n), a
		if a != nil {
			v.Concurrency = int32(startScale(a, c.mostRunning(taskType)))
		}
	})
	if err != nil {
		return nil, err
	}
	return s.show(key, time.Now()), nil
}

// TypeControl is what is set for a task type, or for one worker of it; nil for
// nothing.
func (c *Control) TypeControl(taskType, workerID string) *adminv1.TypeControl {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := settingKey{taskType, spelled(workerID)}
	s, now := c.settings[key], time.Now()
	if s == nil || key.workerID == "" && s.value.Concurrency == 0 && s.value.Autoscale == nil && !inForce(s.value.Pause, now) {
		return nil
	}
	return s.show(key, now)
}

func (s *setting) show(key settingKey, now time.Time) *adminv1.TypeControl {
	out := &adminv1.TypeControl{
		TaskType: key.taskType, WorkerId: key.workerID, Concurrency: s.value.Concurrency,
		Reason: s.reason, UpdateTime: timestamppb.New(s.at),
	}
	if inForce(s.value.Pause, now) {
		out.Paused, out.PauseReason, out.PauseTime, out.PauseUntil = true, s.value.Pause.Reason, s.value.PauseTime, s.value.Pause.Until
	}
	if a := s.value.Autoscale; a != nil {
		out.Autoscale = &adminv1.Autoscale{Min: a.Min, Max: a.Max}
	}
	return out
}

// inForce says whether a pause is there and has not ended by itself.
func inForce(p *brokerv1.Pause, now time.Time) bool {
	return p != nil && (p.Until == nil || p.Until.AsTime().After(now))
}

// Decorate adds what operators have set to a worker's policy, and the versions of that;
// without a worker, what is for all.
func (c *Control) Decorate(workerID string, p *brokerv1.TypePolicy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Concurrency, p.Pause = 0, nil
	p.Version = &brokerv1.PolicyVersion{Override: p.GetVersion().GetOverride()}
	if s := c.settings[settingKey{taskType: p.Type}]; s != nil {
		p.Concurrency, p.Version.Control = s.value.Concurrency, s.version
		if inForce(s.value.Pause, time.Now()) {
			p.Pause = s.value.Pause
		}
	}
	if s := c.settings[settingKey{p.Type, workerID}]; s != nil && workerID != "" {
		p.Concurrency, p.Version.Worker = s.value.Concurrency, s.version
	}
}

// desired is how many slots a worker should have, and who says so.
func (c *Control) desired(workerID, taskType string, configured int) (slots int, by string) {
	slots, by = configured, "configuration"
	if s := c.settings[settingKey{workerID: workerID, taskType: taskType}]; s != nil {
		by = "operator, this worker"
		if s.value.Concurrency > 0 {
			slots = int(s.value.Concurrency)
		}
		return slots, by
	}
	s := c.settings[settingKey{taskType: taskType}]
	switch {
	case s == nil || s.value.Concurrency == 0:
		return slots, by
	case s.value.Autoscale != nil:
		by = "autoscale"
	default:
		by = "operator"
	}
	return int(s.value.Concurrency), by
}

// Apart lists the live workers of a task type if something is set for one of them
// alone, so that they can't all be told the same; else it is nil.
func (c *Control) Apart(taskType string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	apart := slices.ContainsFunc(slices.Collect(maps.Keys(c.settings)), func(k settingKey) bool {
		return k.taskType == taskType && k.workerID != ""
	})
	if !apart {
		return nil
	}
	var out []string
	for id, w := range c.workers {
		if w.gone.IsZero() && w.types[taskType] {
			out = append(out, id)
		}
	}
	return out
}
