package tasktypes

import (
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
)

// Effective gives the options in force, every field set as [policy.Effective]
// has it, and the policy made of them; false for a type that is not known. The
// name may be written in any of the ways that [catalogue.TypeName] understands.
// The options must not be modified.
func (t *Types) Effective(name string) (*taskv1.TaskOptions, policy.Policy, bool) {
	taskType, ok := t.catalogue.Type(name)
	if !ok {
		return nil, policy.Policy{}, false
	}
	r := t.rulesOf(&taskType)
	return r.effective, r.policy, true
}

// Type gives a task type with what is in force; false if it is not known.
func (t *Types) Type(name string) (Type, bool) {
	taskType, ok := t.catalogue.Type(name)
	if !ok {
		return Type{}, false
	}
	return t.inForce(taskType), true
}

// All gives all task types, sorted by name.
func (t *Types) All() []Type {
	known := t.catalogue.Types()
	out := make([]Type, len(known))
	for i := range known {
		out[i] = t.inForce(known[i])
	}
	return out
}

func (t *Types) inForce(taskType catalogue.TaskType) Type {
	r := t.rulesOf(&taskType)
	out := Type{TaskType: taskType, Effective: r.effective, Policy: r.policy, Overridden: r.overridden}
	if r.override != nil {
		out.Override = *r.override
	}
	return out
}

// Retentions gives, for those task types that have one of their own, how long
// tasks are kept that ended well.
func (t *Types) Retentions() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, taskType := range t.catalogue.Types() {
		if d := t.rulesOf(&taskType).effective.GetRetention(); d != nil {
			out[taskType.Name] = d.AsDuration()
		}
	}
	return out
}

// QueueLimits gives, for those task types that have a limit, how many tasks may
// wait in their queue.
func (t *Types) QueueLimits() map[string]int64 {
	out := map[string]int64{}
	for _, taskType := range t.catalogue.Types() {
		if limit := t.rulesOf(&taskType).effective.GetQueueLimit().GetMaxLength(); limit > 0 {
			out[taskType.Name] = limit
		}
	}
	return out
}

// rulesOf makes the rules of a task type once for each change of what is
// declared or overridden.
func (t *Types) rulesOf(taskType *catalogue.TaskType) *rules {
	override := t.overrideOf(taskType.Name)
	if known, ok := t.rules.Load(taskType.Name); ok {
		if r, ok := known.(*rules); ok && r.declared == taskType.Options && r.override == override {
			return r
		}
	}
	r := t.compile(taskType, override)
	t.rules.Store(taskType.Name, r)
	return r
}

// compile leaves the override out if a newer version of the method declares
// something that it does not go with: each alone has passed its check.
func (t *Types) compile(taskType *catalogue.TaskType, override *Override) *rules {
	r := &rules{declared: taskType.Options, override: override}
	if override != nil {
		r.effective = policy.Effective(taskType.Options, override.Options, override.Paths)
		compiled, err := policy.Compile(r.effective)
		if err == nil {
			r.policy, r.overridden = compiled, len(override.Paths) > 0
			return r
		}
		t.log.Error("an override does not go with what the method declares now; the method's own options are in force until it is changed",
			"task_type", taskType.Name, "version", override.Version, "error", err)
	}
	r.effective = policy.Effective(taskType.Options, nil, nil)
	compiled, err := policy.Compile(r.effective)
	if err != nil {
		t.log.Error("a method's options make no sense, the defaults are in force", "task_type", taskType.Name, "error", err)
		r.effective = policy.Effective(nil, nil, nil)
	}
	r.policy = compiled
	return r
}
