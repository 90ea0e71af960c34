package policy

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// rule decides about the failures that match all that it names.
type rule struct {
	// Empty matches all.
	codes          []int
	reason, domain string
	action         taskv1.RetryAction
	// What it matches, for people.
	match string
}

// compileRule expects names of codes that exist.
func compileRule(r *taskv1.RetryRule) rule {
	out := rule{reason: r.GetReason(), domain: r.GetDomain(), action: r.GetAction()}
	for _, name := range r.GetCodes() {
		out.codes = append(out.codes, int(code.Code_value[name]))
	}
	var parts []string
	for _, part := range []struct{ name, value string }{
		{"code", strings.Join(r.GetCodes(), " or ")}, {"reason", out.reason}, {"domain", out.domain},
	} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	if out.match = strings.Join(parts, ", "); out.match == "" {
		out.match = "every failure"
	}
	return out
}

func (r rule) matches(c int, found details) bool {
	if len(r.codes) > 0 && !slices.Contains(r.codes, c) {
		return false
	}
	if r.reason == "" && r.domain == "" {
		return true
	}
	return slices.ContainsFunc(found.infos, func(i info) bool {
		return (r.reason == "" || r.reason == i.reason) && (r.domain == "" || r.domain == i.domain)
	})
}

// covers says whether r matches all that o matches.
func (r rule) covers(o rule) bool {
	return (r.reason == "" || r.reason == o.reason) && (r.domain == "" || r.domain == o.domain) &&
		(len(r.codes) == 0 || len(o.codes) > 0 && !slices.ContainsFunc(o.codes, func(c int) bool { return !slices.Contains(r.codes, c) }))
}

// retries says whether the rule lets another attempt follow.
func retries(a taskv1.RetryAction) bool {
	return a == taskv1.RetryAction_RETRY_ACTION_RETRY || a == taskv1.RetryAction_RETRY_ACTION_IGNORE_ATTEMPT
}
