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
	refused, err := r.compare(bundle, start)
	if err != nil || refused != nil {
		return refused, err
	}
	return nil, r.learn(bundle, start)
}

// compare refuses a bundle as a whole if a task type of it is not wire-compatible
// with the one in force, unless an operator allows it: a worker is not to serve half
// of a version. An error means that it can't be said now.
//
// A version that was let in once may come again, although something newer is in
// force: workers of both run side by side during a deploy, and restart; and going
// back must work. As long as the store did not say what is in force, a bundle is
// compared with what workers have announced since: the work has to go on.
func (r *Registry) compare(bundle *catalogue.Bundle, start time.Time) ([]*brokerv1.Refusal, error) {
	if r.isLoading() {
		return nil, errNotLoaded
	}
	if r.wasAccepted(bundle) {
		return nil, nil
	}
	all := r.cfg.Catalogue.Compare(bundle, start, func(string) bool { return true })
	if all.Total == 0 {
		return nil, nil
	}
	if r.Loaded() && !r.cfg.Types.Loaded() {
		return nil, errors.New("a change is not wire-compatible, and whether operators allow it is not known yet")
	}
	found := r.cfg.Catalogue.Compare(bundle, start, func(t string) bool { return !r.allowed(t) })
	if found.Total == 0 {
		r.cfg.Logger.Warn("changes that are not wire-compatible were let in, because operators allow them (allow_incompatible)",
			"services", bundle.Services(), "findings", all.Total, "first", all.Named[0].String())
		return nil, nil
	}
	return refusals(bundle, found), nil
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
			"its messages are not wire-compatible with those in force: %s. Undo this, reserve what was deleted, or give the method a new name; "+
				"if no task, caller or worker needs the old messages, allow it with AdminService.UpdateTaskType, "+
				`{"name": %q, "options": {"allow_incompatible": true}, "update_mask": "allow_incompatible", "reason": "…"}, and start the worker again`, what, t)})
	}
	for _, s := range bundle.Services() {
		out = append(out, &brokerv1.Refusal{Name: s, Service: true, Message: fmt.Sprintf(
			"nothing of this version was registered, because %s is not compatible", strings.Join(types, ", "))})
	}
	return out
}
