package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// maxAge bounds the durations of policies.
	maxAge = 10 * 365 * 24 * time.Hour
	// maxTypeName bounds the task type of a policy, in characters.
	maxTypeName = 500
)

// policyToProto shows what was set.
func policyToProto(p *store.Policy) *deadletterv1.DeadLetterPolicy {
	m := &deadletterv1.DeadLetterPolicy{TaskType: p.TaskType, UpdateTime: timestamp(p.UpdateTime), Etag: p.Etag}
	for f, v := range p.Set {
		showSetting(m, f, v)
	}
	return m
}

// effectiveToProto shows what holds.
func effectiveToProto(own, all *store.Policy) *deadletterv1.DeadLetterPolicy {
	p := *own
	p.Set = store.Effective(own.Set, all.Set)
	return policyToProto(&p)
}

func showSetting(m *deadletterv1.DeadLetterPolicy, f store.PolicyField, v int64) {
	switch f {
	case store.PolicyMaxReplays:
		n := int32(v)
		m.MaxReplays = &n
	case store.PolicyHold:
		hold := v != 0
		m.Hold = &hold
	default:
		age := durationpb.New(time.Duration(v) * time.Microsecond)
		if d := policyField(m, f); d != nil {
			m.ProtoReflect().Set(d, protoreflect.ValueOfMessage(age.ProtoReflect()))
		}
	}
}

// policyField is the field of the message that has the same name; nil for none, as of a
// setting that a later version has stored.
func policyField(m *deadletterv1.DeadLetterPolicy, f store.PolicyField) protoreflect.FieldDescriptor {
	return m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(f))
}

// policyRequest is what is asked for, if it is good.
func policyRequest(r *deadletterv1.UpdateDeadLetterPolicyRequest) (store.PolicyRequest, error) {
	out := store.PolicyRequest{TaskType: r.Policy.GetTaskType(), Etag: r.Etag, Set: store.Settings{}}
	if n := len([]rune(out.TaskType)); n == 0 || n > maxTypeName {
		return out, badPolicy("policy.task_type", fmt.Sprintf("must have 1 to %d characters", maxTypeName))
	}
	if out.TaskType != store.AllTypes && strings.Contains(out.TaskType, "*") {
		return out, badPolicy("policy.task_type", "must be a task type, or * for all of them; patterns are not taken")
	}
	if len(r.UpdateMask.GetPaths()) == 0 {
		return out, badPolicy("update_mask", "must name a field")
	}
	known := store.PolicyDefaults()
	for _, path := range r.UpdateMask.GetPaths() {
		f := store.PolicyField(path)
		if _, ok := known[f]; !ok {
			return out, badPolicy("update_mask", strconv.Quote(path)+" is no field that can be changed")
		}
		out.Fields = append(out.Fields, f)
		if err := takeSetting(out.Set, r.Policy, f); err != nil {
			return out, err
		}
	}
	return out, nil
}

// takeSetting takes a value that is set.
func takeSetting(into store.Settings, m *deadletterv1.DeadLetterPolicy, f store.PolicyField) error {
	switch {
	case slices.Contains(store.PolicyAges, f):
		return takeAge(into, m, f)
	case f == store.PolicyMaxReplays && m.MaxReplays != nil:
		if *m.MaxReplays < 0 {
			return badPolicy("policy.max_replays", "must not be negative")
		}
		into[f] = int64(*m.MaxReplays)
	case f == store.PolicyHold && m.Hold != nil:
		into[f] = 0
		if *m.Hold {
			into[f] = 1
		}
	}
	return nil
}

func takeAge(into store.Settings, m *deadletterv1.DeadLetterPolicy, f store.PolicyField) error {
	d, reflected := policyField(m, f), m.ProtoReflect()
	if !reflected.Has(d) {
		return nil
	}
	age, ok := reflected.Get(d).Message().Interface().(*durationpb.Duration)
	switch {
	case !ok || !age.IsValid() || age.AsDuration() < 0 || age.AsDuration() > maxAge:
		return badPolicy("policy."+string(f), "must be between 0 and ten years")
	case age.AsDuration() > 0 && age.AsDuration() < time.Millisecond:
		return badPolicy("policy."+string(f), "must be 0, or at least a millisecond")
	}
	into[f] = age.AsDuration().Microseconds()
	return nil
}

func badPolicy(field, problem string) error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is not valid: %s: %s", field, problem).Field(field, problem)
}
