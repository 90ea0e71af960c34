package store

import (
	"context"
	"errors"
	"maps"
	"time"
)

// ErrManyPolicies says that as many policies are stored as there may be.
var ErrManyPolicies = errors.New("there are too many policies")

const (
	// AllTypes is the policy that holds for all task types.
	AllTypes = "*"
	// MaxPolicies bounds the policies that are kept.
	MaxPolicies = 10_000
)

// Policies are what operators have set for the dead letters of task types.
type Policies interface {
	// Policy returns what was set for a type, by what is shown as a dead letter's
	// type, and for AllTypes. Of one that was never set only TaskType and Etag are.
	// Errors: ErrUnavailable, the context's.
	Policy(ctx context.Context, taskType string) (own, all Policy, err error)

	// Policies returns the policies that were set, by type: those whose type is above
	// after, at most limit (bounded by MaxPage). Errors: ErrUnavailable, the
	// context's.
	Policies(ctx context.Context, after string, limit int) ([]Policy, error)

	// UpdatePolicy sets values of a policy. One that changes nothing is no change.
	// Errors, the first that applies: ErrEtag, ErrManyPolicies; and ErrUnavailable, the
	// context's.
	UpdatePolicy(ctx context.Context, r PolicyRequest) (own, all Policy, err error)
}

// Policy is what was set for a task type.
type Policy struct {
	// TaskType is a dead letter's type, or AllTypes.
	TaskType string
	// Set has the values that were set.
	Set Settings
	// UpdateTime is when it was changed last, zero if never.
	UpdateTime time.Time
	// Etag changes with every change.
	Etag string
}

// PolicyRequest asks to set values of a policy.
type PolicyRequest struct {
	TaskType string
	// Etag, if set, must be the policy's.
	Etag string
	// Fields are those to take from Set; one that is not there is unset.
	Fields []PolicyField
	Set    Settings
	// By is the call that asks for it.
	By Call
}

// PolicyField is a value of a policy, by its name in the API, which is stored.
type PolicyField string

// The values of policies.
const (
	PolicyWarnAge              PolicyField = "warn_age"
	PolicyBreachAge            PolicyField = "breach_age"
	PolicyOpenRetention        PolicyField = "open_retention"
	PolicyQuarantinedRetention PolicyField = "quarantined_retention"
	PolicyResolvedRetention    PolicyField = "resolved_retention"
	PolicyDiscardedRetention   PolicyField = "discarded_retention"
	PolicyTombstoneRetention   PolicyField = "tombstone_retention"
	PolicyMaxReplays           PolicyField = "max_replays"
	PolicyHold                 PolicyField = "hold"
)

// PolicyAges are the fields that are durations, of the whole microseconds that are
// kept.
var PolicyAges = []PolicyField{
	PolicyWarnAge, PolicyBreachAge, PolicyOpenRetention, PolicyQuarantinedRetention, PolicyResolvedRetention,
	PolicyDiscardedRetention, PolicyTombstoneRetention,
}

// Settings are values of a policy by their fields: a duration's microseconds, a
// number, or 1 for true. A field that is missing is not set. Its methods are for
// settings that hold, as [Effective] makes them.
type Settings map[PolicyField]int64

const day = int64(24 * time.Hour / time.Microsecond)

// PolicyDefaults returns what holds where nothing is set.
func PolicyDefaults() Settings {
	return Settings{
		PolicyWarnAge: 0, PolicyBreachAge: 0, PolicyOpenRetention: 0, PolicyQuarantinedRetention: 0,
		PolicyResolvedRetention: 30 * day, PolicyDiscardedRetention: 30 * day, PolicyTombstoneRetention: 90 * day,
		PolicyMaxReplays: 10, PolicyHold: 0,
	}
}

// Effective is what holds for a type: what was set for it, else for all types, else the
// default. Every field is set.
func Effective(own, all Settings) Settings {
	holds := PolicyDefaults()
	maps.Copy(holds, all)
	maps.Copy(holds, own)
	return holds
}

// Age is a field's duration; 0 is for ever, or never.
func (s Settings) Age(f PolicyField) time.Duration { return time.Duration(s[f]) * time.Microsecond }

// Hold says whether all dead letters of the type are kept as they are.
func (s Settings) Hold() bool { return s[PolicyHold] != 0 }

// Quarantines says whether a dead letter that has died again after so many replays is
// to be QUARANTINED.
func (s Settings) Quarantines(replays int) bool {
	most := s[PolicyMaxReplays]
	return most > 0 && int64(replays) >= most
}

var retentions = map[State]PolicyField{
	StateOpen: PolicyOpenRetention, StateQuarantined: PolicyQuarantinedRetention, StateResolved: PolicyResolvedRetention,
	StateDiscarded: PolicyDiscardedRetention, StatePurged: PolicyTombstoneRetention,
}

// RetentionOf is the field that says how long dead letters of a state are kept; false
// if they are whatever is set.
func RetentionOf(s State) (PolicyField, bool) {
	f, ok := retentions[s]
	return f, ok
}

// PurgeTime is when a dead letter's retention ends, if it stays as it is; zero for
// never.
func (s Settings) PurgeTime(d *DeadLetter) time.Time {
	f, ok := retentions[d.State]
	if !ok || d.OnHold || s.Hold() || s[f] == 0 {
		return time.Time{}
	}
	return d.UpdateTime.Add(s.Age(f))
}

// Residence is how long a dead letter has waited, against the objective. The numbers
// are those of warren.deadletter.v1.Residence.
type Residence int

// The residences. The zero value is that of a dead letter that does not wait, or whose
// type has no objective.
const (
	ResidenceNone Residence = iota
	ResidenceWithin
	ResidenceWarn
	ResidenceBreach
)

// Waits says whether dead letters of the state wait for somebody, so that their
// residence counts.
func (s State) Waits() bool { return s == StateOpen || s == StateQuarantined }

// Residence is that of a dead letter at a time: it waits since UpdateTime.
func (s Settings) Residence(d *DeadLetter, now time.Time) Residence {
	warn, breach, age := s.Age(PolicyWarnAge), s.Age(PolicyBreachAge), now.Sub(d.UpdateTime)
	switch {
	case !d.State.Waits() || warn == 0 && breach == 0:
		return ResidenceNone
	case breach > 0 && age > breach:
		return ResidenceBreach
	case warn > 0 && age > warn:
		return ResidenceWarn
	}
	return ResidenceWithin
}
