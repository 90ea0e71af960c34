package policy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Validate checks options as a method's author or an operator gives them: the
// rules of their fields, and that together they make sense. The error is a
// [*FieldError] about the first field that is wrong. Nil options are valid.
func Validate(o *taskv1.TaskOptions) error {
	if err := each(o, checkEnum); err != nil {
		return err
	}
	return check(o)
}

// check is Validate for options that may be of a newer version.
func check(o *taskv1.TaskOptions) error {
	if err := checkFields(o); err != nil {
		return err
	}
	retry := o.GetRetry()
	return cmp.Or(
		asError(checkBackoff(retry.GetBackoff())),
		asError(checkRules(retry.GetRules())),
		asError(checkOnce(o)),
		asError(checkBudget(o)),
		asError(checkQueueLimit(o.GetQueueLimit())),
	)
}

// asError keeps a nil pointer from becoming an error.
func asError(e *FieldError) error {
	if e == nil {
		return nil
	}
	return e
}

// checkFields checks each field by itself.
func checkFields(o *taskv1.TaskOptions) error {
	// protovalidate's rules look at a duration's value, however it is written.
	if err := each(o, checkDuration); err != nil {
		return err
	}
	if o == nil {
		return nil
	}
	err := protovalidate.Validate(o)
	invalid := new(protovalidate.ValidationError)
	if !errors.As(err, &invalid) || len(invalid.Violations) == 0 {
		return err
	}
	first := invalid.Violations[0].Proto
	return &FieldError{protovalidate.FieldPathString(first.GetField()), first.GetMessage()}
}

// each calls f with every field that is set, and with every element of a list,
// until it says what is wrong.
func each(m proto.Message, f func(protoreflect.FieldDescriptor, protoreflect.Value) string) error {
	return protorange.Options{Stable: true}.Range(m.ProtoReflect(), func(v protopath.Values) error {
		last := v.Index(-1)
		step := last.Step
		if step.Kind() == protopath.ListIndexStep {
			step = v.Index(-2).Step
		} else if step.Kind() == protopath.FieldAccessStep && step.FieldDescriptor().IsList() {
			return nil
		}
		if step.Kind() != protopath.FieldAccessStep {
			return nil
		}
		if problem := f(step.FieldDescriptor(), last.Value); problem != "" {
			return &FieldError{nameOf(v.Path), problem}
		}
		return nil
	}, nil)
}

func nameOf(p protopath.Path) string {
	var out strings.Builder
	for _, step := range p {
		switch step.Kind() {
		case protopath.FieldAccessStep:
			if out.Len() > 0 {
				out.WriteByte('.')
			}
			out.WriteString(string(step.FieldDescriptor().Name()))
		case protopath.ListIndexStep:
			fmt.Fprintf(&out, "[%d]", step.ListIndex())
		}
	}
	return out.String()
}

func checkDuration(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if fd.Message() == nil {
		return ""
	}
	if d, ok := v.Message().Interface().(*durationpb.Duration); ok {
		if err := d.CheckValid(); err != nil {
			return "must be a valid google.protobuf.Duration"
		}
	}
	return ""
}

func checkEnum(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	ed := fd.Enum()
	// A priority is a number, of which only some have a name.
	if ed == nil || ed == taskv1.Priority_PRIORITY_UNSPECIFIED.Descriptor() || ed.Values().ByNumber(v.Enum()) != nil {
		return ""
	}
	return fmt.Sprintf("must be a %s, %d is none", ed.FullName(), v.Enum())
}

func checkBackoff(b *taskv1.Backoff) *FieldError {
	const field = "retry.backoff."
	switch kind := b.GetKind().(type) {
	case *taskv1.Backoff_List:
		if len(kind.List.GetDelays()) == 0 {
			return &FieldError{field + "list.delays", "must have at least one delay"}
		}
	case *taskv1.Backoff_Exponential:
		return checkExponential(field+"exponential.", kind.Exponential)
	}
	return nil
}

func checkExponential(field string, given *taskv1.ExponentialBackoff) *FieldError {
	e := new(taskv1.ExponentialBackoff)
	if given != nil {
		e = proto.CloneOf(given)
	}
	fillExponential(e)
	// Not a number fails this as well.
	if m := e.GetMultiplier(); !(m >= 1 && m <= 100) {
		return &FieldError{field + "multiplier", "must be from 1 to 100"}
	}
	initial, limit := e.GetInitial().AsDuration(), e.GetMax().AsDuration()
	if limit >= initial {
		return nil
	}
	given = cmp.Or(given, e)
	if given.GetMax() == nil {
		return &FieldError{field + "max", fmt.Sprintf("must be set, because its default, %v, is less than initial, %v", limit, initial)}
	}
	byDefault := ""
	if given.GetInitial() == nil {
		byDefault = " by default"
	}
	return &FieldError{field + "max", fmt.Sprintf("must be at least initial, which is %v%s", initial, byDefault)}
}

// checkOnce refuses attempts after the first for a type that runs at most once.
func checkOnce(o *taskv1.TaskOptions) *FieldError {
	if !o.GetAtMostOnce() {
		return nil
	}
	if o.GetRetry().GetMaxAttempts() > 1 {
		return onlyOnce("retry.max_attempts", "must be 1")
	}
	for i, r := range o.GetRetry().GetRules() {
		if retries(r.GetAction()) {
			return onlyOnce(ruleField(i)+".action", "must be RETRY_ACTION_DEAD_LETTER")
		}
	}
	return nil
}

// checkBudget refuses a budget that ends before the first backoff can.
func checkBudget(o *taskv1.TaskOptions) *FieldError {
	budget := o.GetRetry().GetBudget()
	if s := compile(Effective(o, nil, nil)); budget != nil && s.maxAttempts > 1 && s.budget < s.waits.shortest() {
		return &FieldError{"retry.budget", fmt.Sprintf(
			"must be at least the first wait, %v, or nothing is ever retried: for that, set max_attempts to 1", s.waits.shortest())}
	}
	return nil
}

func checkQueueLimit(q *taskv1.QueueLimit) *FieldError {
	if q.GetOverflow() == taskv1.Overflow_OVERFLOW_DEAD_LETTER && q.GetMaxLength() == 0 {
		return &FieldError{"queue_limit.max_length", "must be set, because without a limit nothing overflows"}
	}
	return nil
}

// checkAtMost checks a duration of a submission against its type's.
func checkAtMost(field string, d, limit time.Duration) *FieldError {
	if d > limit {
		return &FieldError{field, fmt.Sprintf("must be at most the task type's, %v", limit)}
	}
	return nil
}
