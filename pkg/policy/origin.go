package policy

import (
	"slices"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Origin is who has said what an option in force is.
type Origin int

// The origins.
const (
	// OriginDefault: nobody.
	OriginDefault Origin = iota + 1
	// OriginDeclared: the method's author.
	OriginDeclared
	// OriginOverride: an operator.
	OriginOverride
)

// Source says where the value at a path of TaskOptions comes from.
type Source struct {
	Path   string
	Origin Origin
}

// Sources says where each value comes from that [Effective] answers for the same
// arguments, in the order of the fields. A value that was overridden together with
// others, and got none, is the default.
func Sources(declared, override *taskv1.TaskOptions, paths []string) []Source {
	covered := known(paths)
	said := func(p path, o *taskv1.TaskOptions) bool {
		_, ok := p.get(o.ProtoReflect())
		return ok
	}
	origin := func(p path) Origin {
		switch {
		case slices.ContainsFunc(covered, func(q path) bool { return q.covers(p) }):
			if said(p, override) {
				return OriginOverride
			}
		case said(p, declared):
			return OriginDeclared
		}
		return OriginDefault
	}
	var out []Source
	places := map[string]int{}
	for _, p := range overridable() {
		if !p.inner {
			places[p.name] = len(out)
			out = append(out, Source{p.name, origin(p)})
		}
	}
	if Effective(declared, override, paths).GetAtMostOnce() {
		// Who has said that has said this too, whatever else was said.
		out[places["retry.max_attempts"]].Origin = out[places["at_most_once"]].Origin
	}
	return out
}
