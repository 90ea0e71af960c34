package policy

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

func ruleField(i int) string { return fmt.Sprintf("retry.rules[%d]", i) }

// checkRules refuses rules that decide nothing.
func checkRules(rules []*taskv1.RetryRule) *FieldError {
	compiled := make([]rule, 0, len(rules))
	for i, r := range rules {
		if err := checkRule(ruleField(i), r); err != nil {
			return err
		}
		c := compileRule(r)
		for j, earlier := range compiled {
			if earlier.covers(c) {
				return &FieldError{ruleField(j), fmt.Sprintf(
					"matches %s, so that rule %d after it never decides: put it last, or remove one", earlier.match, i+1)}
			}
		}
		compiled = append(compiled, c)
	}
	return nil
}

func checkRule(field string, r *taskv1.RetryRule) *FieldError {
	if r.GetAction() == taskv1.RetryAction_RETRY_ACTION_UNSPECIFIED {
		return &FieldError{field + ".action", "must be set"}
	}
	never := len(r.GetCodes()) > 0
	for i, name := range r.GetCodes() {
		c, ok := code.Code_value[name]
		switch {
		case !ok:
			return &FieldError{fmt.Sprintf("%s.codes[%d]", field, i), quote(name) + " is not the name of a google.rpc.Code, e.g. UNAVAILABLE"}
		case codes.Code(c) == codes.OK:
			return &FieldError{fmt.Sprintf("%s.codes[%d]", field, i), "OK is not a failure"}
		}
		never = never && codes.Code(c) == codes.Unimplemented
	}
	switch {
	case !retries(r.GetAction()):
	case never:
		return &FieldError{field + ".codes", "UNIMPLEMENTED is never retried"}
	case r.GetDomain() == ownDomain && hopelessReason(r.GetReason()) != 0:
		return &FieldError{field + ".reason", r.GetReason() + " is never retried"}
	}
	return nil
}
