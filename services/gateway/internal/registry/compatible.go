package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// maxBecause is how many task types a service names that is not registered because of
// them.
const maxBecause = 10

// errNotLoaded says that what is in force is not known yet.
var errNotLoaded = errors.New("the task types of earlier days are being loaded")

// admit compares a bundle once more, takes it in, and has it stored.
func (r *Registry) admit(ctx context.Context, bundle *catalogue.Bundle, start time.Time) ([]*brokerv1.Refusal, error) {
	refused, err := r.compareAndLearn(bundle, start)
	if err == nil && refused == nil {
		r.save(ctx)
	}
	return refused, err
}

func (r *Registry) compareAndLearn(bundle *catalogue.Bundle, start time.Time) ([]*brokerv1.Refusal, error) {
	r.taking.Lock()
	defer r.taking.Unlock()
	v, err := r.compare(bundle, start)
	if err != nil || v.refused != nil {
		return v.refused, err
	}
	return nil, r.learn(bundle, start, v.breaks)
}

// verdict is what a comparison has led to.
type verdict struct {
	// refused is nil for a bundle that may come in.
	refused []*brokerv1.Refusal
	// breaks says that it does not go with what there was, and that operators allow it.
	breaks bool
}

// compare refuses a bundle as a whole if a task type of it is not wire-compatible
// with the ones that are in use, unless an operator allows it: a worker is not to serve half
// of a version. An error means that it can't be said now.
//
// A version that was let in once may come again, although something newer is in
// force: workers of both run side by side during a deploy, and restart; and going
// back must work. As long as the store did not say what is in force, a bundle is
// compared with what workers have announced since: the work has to go on. But then
// nothing is refused, which ends a worker: it may have been let in long ago, or be
// allowed.
func (r *Registry) compare(bundle *catalogue.Bundle, start time.Time) (verdict, error) {
	// Asked first: what becomes known meanwhile would have been compared in part only.
	known := r.Loaded() && r.cfg.Types.Loaded()
	if r.isLoading() {
		return verdict{}, errNotLoaded
	}
	if r.wasAccepted(bundle) {
		return verdict{}, nil
	}
	all := r.findings(bundle, start, func(string) bool { return true })
	if all.Total == 0 {
		return verdict{}, nil
	}
	if !known {
		return verdict{}, errors.New("a change is not wire-compatible, and whether it was let in before or operators allow it is not known yet")
	}
	found := r.findings(bundle, start, func(t string) bool { return !r.allowed(t) })
	if found.Total == 0 {
		r.cfg.Logger.Warn("changes that are not wire-compatible were let in, because operators allow them (allow_incompatible)",
			"services", bundle.Services(), "findings", all.Total, "first", all.Named[0].String())
		return verdict{breaks: true}, nil
	}
	return verdict{refused: refusals(bundle, found)}, nil
}

// findings are about what is in force; and if a bundle goes with that, about the first
// of the other versions that it does not go with: their workers and tasks may be about
// although one before them came back, and is in force.
func (r *Registry) findings(bundle *catalogue.Bundle, start time.Time, filter func(taskType string) bool) catalogue.Findings {
	found := r.cfg.Catalogue.Compare(bundle, start, filter)
	if found.Total > 0 {
		return found
	}
	for _, o := range r.otherVersions(bundle) {
		other, err := r.bundle(o.announced)
		if err != nil {
			r.cfg.Logger.Warn("a version can't be compared with an earlier one, which is not usable", "services", bundle.Services(), "error", err)
			continue
		}
		found = bundle.CompareWith(other, start, o.start, func(t string) bool {
			// What was retired binds nobody.
			known, ok := r.cfg.Catalogue.Type(t)
			return ok && o.services[known.Service] && filter(t)
		})
		if found.Total > 0 {
			break
		}
	}
	return found
}

func (r *Registry) isLoading() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loading
}

func (r *Registry) allowed(taskType string) bool {
	t, ok := r.cfg.Types.Type(taskType)
	return ok && t.Effective.GetAllowIncompatible()
}

// refusals name each task type that is at fault with what was found, and then the
// services that are not registered because of them.
func refusals(bundle *catalogue.Bundle, found catalogue.Findings) []*brokerv1.Refusal {
	var out []*brokerv1.Refusal
	byType := map[string][]string{}
	var types []string
	for _, f := range found.Named {
		if byType[f.Type] == nil {
			types = append(types, f.Type)
		}
		byType[f.Type] = append(byType[f.Type], f.String())
	}
	for i, t := range types {
		what := strings.Join(byType[t], "; ")
		if more := found.Total - len(found.Named); more > 0 && i == len(types)-1 {
			what += fmt.Sprintf("; and %d more", more)
		}
		out = append(out, &brokerv1.Refusal{Name: t, Message: fmt.Sprintf(
			"its messages are not wire-compatible with those in force, or with a version that may come back: %s. Undo this, reserve what was deleted, or give the method a new name; "+
				"if no task, caller or worker needs the old messages, allow it with AdminService.UpdateTaskType, "+
				`{"name": %q, "options": {"allow_incompatible": true}, "update_mask": {"paths": ["allow_incompatible"]}, "reason": "…"}, and start the worker again`, what, t)})
	}
	because := strings.Join(types[:min(len(types), maxBecause)], ", ")
	if more := len(types) - maxBecause; more > 0 {
		because += fmt.Sprintf(" and %d more", more)
	}
	for _, s := range bundle.Services() {
		out = append(out, &brokerv1.Refusal{Name: s, Service: true, Message: fmt.Sprintf(
			"nothing of this version was registered, because of what is not compatible: %s", because)})
	}
	return out
}
