package policy

import "strconv"

// FieldError names a field of TaskOptions that makes no sense.
type FieldError struct {
	// Field is the path of the field, e.g. `retry.backoff.exponential.max` or
	// `retry.rules[2].codes[0]`; `update_mask` if a path of an update is wrong.
	Field string
	// Problem says what is wrong with it, e.g. `must be at most 12h0m0s`.
	Problem string
}

// Error is the field and the problem.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// onlyOnce is what is wrong with a field because a type runs at most once.
func onlyOnce(field, problem string) *FieldError {
	return &FieldError{field, problem + ", because the type runs at most once (at_most_once)"}
}

func quote(s string) string { return strconv.Quote(s) }
