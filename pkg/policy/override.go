package policy

import (
	"slices"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Override merges an update into the override of a task type: what the update
// sets at one of its paths replaces what was there, and a path that it does not
// set goes back to what is declared. A path names a field of TaskOptions, e.g.
// `timeout`, `retry` or `retry.max_attempts`; a backoff, a list of rules and a
// duration are one value each.
//
// It answers the new override and the paths that it is about, in the order of
// the fields; nil and nil if nothing is overridden any more. A path may be among
// them without a value: that field was part of a message that was overridden as
// a whole, and has its default; see [Effective].
//
// What would be in force must make sense; the error is a [*FieldError], of the
// field `update_mask` if a path is wrong. No argument is modified, and each of
// the options may be nil.
func Override(
	declared, current *taskv1.TaskOptions, currentPaths []string,
	update *taskv1.TaskOptions, updatePaths []string,
) (next *taskv1.TaskOptions, nextPaths []string, err error) {
	changes, wrong := parse(updatePaths)
	if wrong != nil {
		return nil, nil, wrong
	}
	merged, covered := clone(current), known(currentPaths)
	from := clone(update).ProtoReflect()
	for _, p := range changes {
		if value, ok := p.get(from); ok {
			p.set(merged.ProtoReflect(), value)
			covered = add(covered, p)
		} else {
			p.clear(merged.ProtoReflect())
			covered = remove(covered, p)
		}
	}
	next, nextPaths = only(merged, covered)
	if err := checkOverride(declared, next, nextPaths); err != nil {
		return nil, nil, err
	}
	return next, nextPaths, nil
}

func checkOverride(declared, next *taskv1.TaskOptions, paths []string) error {
	o := Effective(declared, next, paths)
	// Effective gives a type that runs at most once its one attempt, so that it
	// can be made such a type by one override; asking for more is a mistake.
	if o.GetAtMostOnce() && next.GetRetry().GetMaxAttempts() > 1 {
		return onlyOnce("retry.max_attempts", "must be 1")
	}
	return Validate(o)
}

// add adds a path to those that are covered.
func add(covered []path, p path) []path {
	if slices.ContainsFunc(covered, func(q path) bool { return q.covers(p) }) {
		return covered
	}
	return append(remove(covered, p), p)
}

// remove takes a path from those that are covered. Of one that leads there, what
// else it covers stays.
func remove(covered []path, p path) []path {
	var out []path
	for _, q := range covered {
		switch {
		case p.covers(q):
		case q.covers(p):
			out = append(out, remove(q.parts(), p)...)
		default:
			out = append(out, q)
		}
	}
	return out
}

// parts are the paths that lead one step on from p.
func (p path) parts() []path {
	var out []path
	for _, q := range overridable() {
		if len(q.fields) == len(p.fields)+1 && p.covers(q) {
			out = append(out, q)
		}
	}
	return out
}

// only reduces options to the paths, and names these in order.
func only(o *taskv1.TaskOptions, paths []path) (*taskv1.TaskOptions, []string) {
	if len(paths) == 0 {
		return nil, nil
	}
	out, names := new(taskv1.TaskOptions), make([]string, 0, len(paths))
	for _, p := range overridable() {
		if !slices.ContainsFunc(paths, func(q path) bool { return q.name == p.name }) {
			continue
		}
		names = append(names, p.name)
		if value, ok := p.get(o.ProtoReflect()); ok {
			p.set(out.ProtoReflect(), value)
		}
	}
	return out, names
}
