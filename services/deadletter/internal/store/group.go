package store

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// What a store answers about groups when it can't do as it was asked.
var (
	// ErrNoGroup: there is no such failure group.
	ErrNoGroup = errors.New("no such failure group")
	// ErrTooMany: the answer would be larger than what is allowed.
	ErrTooMany = errors.New("the answer is too large")
)

// Bounds of groups.
const (
	// GroupHours is for how long the runs of a group are counted by the hour.
	GroupHours = 7 * 24 * time.Hour
	// MaxSamples bounds the dead letters that a group shows.
	MaxSamples = 10
	// MaxVersions bounds the versions of workers that a group shows.
	MaxVersions = 50
	// MaxAggregates bounds the counts of one answer.
	MaxAggregates = 10_000
	// MaxUngrouped bounds the dead letters of one answer of Ungrouped.
	MaxUngrouped = 500
)

// Groups are the dead letters by what they died of. Each run that died belongs to the
// group of its own fingerprint, a dead letter to that of its highest run.
//
// Put makes groups and counts for them, as its arrivals' fingerprints say. An arrival
// that makes its dead letter OPEN, or finds it so, makes a RESOLVED group REGRESSED, unless
// its run died in a second before that in which the group was RESOLVED. Of
// how many dead letters a group has now, and how many OPEN ones, every method keeps
// count. A group stays when its last dead letter goes.
type Groups interface {
	// Groups returns a page of groups, without what only Group shows. Errors:
	// ErrUnavailable, the context's.
	Groups(ctx context.Context, q GroupQuery) (GroupPage, error)

	// Group returns a group. Errors: ErrNoGroup, ErrUnavailable, the context's.
	Group(ctx context.Context, id string) (Group, error)

	// HasGroup says whether there is a group. Errors: ErrUnavailable, the context's.
	HasGroup(ctx context.Context, id string) (bool, error)

	// UpdateGroup changes the operators' part of a group, and audits what has changed;
	// nothing if nothing has. Errors, the first that applies: ErrNoGroup, ErrEtag; and
	// ErrUnavailable, the context's.
	UpdateGroup(ctx context.Context, u GroupUpdate) (Group, error)

	// CountGroups counts the groups by their state. Errors: ErrUnavailable, the
	// context's.
	CountGroups(ctx context.Context) (map[GroupState]int64, error)

	// Aggregate counts dead letters, exactly: by interval, the first one first, then the
	// largest count first. Errors: ErrTooMany above MaxAggregates, ErrUnavailable, the
	// context's.
	Aggregate(ctx context.Context, q AggregateQuery) ([]Aggregate, error)

	// Ungrouped returns dead letters that were not grouped by the given version of the
	// fingerprint or a later one, at most limit (bounded by MaxUngrouped); like a page,
	// it ends where the next one would exceed MaxPageBytes in all. Errors:
	// ErrUnavailable, the context's.
	Ungrouped(ctx context.Context, version, limit int) ([]Ungrouped, error)

	// Regroup puts runs into groups, in one transaction. A run that is in another group
	// leaves that one, which goes if none is left; the new group takes over what
	// operators have said of it. No dead letter's etag changes, nothing is REGRESSED.
	// Errors: ErrUnavailable, the context's.
	Regroup(ctx context.Context, regroupings []Regrouping) error

	// ForgetHours deletes counts of hours that have passed out of GroupHours, at most
	// limit of them, and returns how many it has deleted. Errors: ErrUnavailable, the
	// context's.
	ForgetHours(ctx context.Context, limit int) (int, error)
}

// Fingerprint says which group a run that died belongs to, and what that shows if it is
// new. The zero value is not known yet.
type Fingerprint struct {
	// GroupID is 32 digits in hexadecimal.
	GroupID string
	// Version is that of the rules that made it, above 0.
	Version int
	// Domain is that of the failure's google.rpc.ErrorInfo.
	Domain string
	// Message is the failure's with placeholders.
	Message string
	// Custom is the handler's own fingerprint, or empty.
	Custom string
}

// GroupState is what operators have said of a group. The numbers are those of
// warren.deadletter.v1.FailureGroupState; the zero value is none.
type GroupState int

// The states of a group.
const (
	// GroupOpen: nobody has looked at it.
	GroupOpen GroupState = iota + 1
	// GroupAcknowledged: somebody looks after it.
	GroupAcknowledged
	// GroupResolved: it is said to be mended.
	GroupResolved
	// GroupRegressed: it was said to be mended, and has failed again since.
	GroupRegressed
)

var groupStateNames = [...]string{"UNSPECIFIED", "OPEN", "ACKNOWLEDGED", "RESOLVED", "REGRESSED"}

// String is the state's name as the API spells it.
func (s GroupState) String() string {
	if s < 0 || int(s) >= len(groupStateNames) {
		return groupStateNames[0]
	}
	return groupStateNames[s]
}

// Group is all that died of the same thing.
type Group struct {
	ID string
	// Sequence is its place in the order in which groups were made.
	Sequence int64
	State    GroupState
	// Etag changes with the state and the operators' part.
	Etag string
	// Type, Cause, Code, Domain, Reason, Message, Custom and FingerprintVersion are those
	// of the first run; long texts are cut.
	Type               string
	Cause              task.Cause
	Code               int
	Domain             string
	Reason             string
	Message            string
	Custom             string
	FingerprintVersion int
	// Count is how many runs have died of it, DeadLetters how many dead letters belong to
	// it now, and Open how many of those are OPEN.
	Count, DeadLetters, Open int64
	// FirstSeen and LastSeen are when the first and last of the runs died.
	FirstSeen, LastSeen time.Time
	// StateTime is when the state changed last, by the store's clock.
	StateTime time.Time
	Note      string
	// MuteUntil is until when nobody is told of it; zero is not muted.
	MuteUntil time.Time

	// Hours are the runs by the hour, the first one first; those without any are left
	// out. Samples are dead letters that are not PURGED, the last one first. Versions
	// are those of the workers, the most frequent first. All are nil but from Group.
	Hours    []HourCount
	Samples  []GroupSample
	Versions []VersionCount
}

// HourCount is how many runs died in an hour.
type HourCount struct {
	Start time.Time
	Count int64
}

// GroupSample is a dead letter of a group.
type GroupSample struct{ DeadLetterID, TraceID string }

// VersionCount is how many dead letters a version of a worker has.
type VersionCount struct {
	Version string
	Count   int64
}

// GroupOrder is an order of groups, the largest value first. Groups of the same value
// are in the order in which they were made, the last one first.
type GroupOrder int

// The orders.
const (
	ByLastSeen GroupOrder = iota
	ByFirstSeen
	ByCount
	ByOpen
)

// GroupQuery selects groups.
type GroupQuery struct {
	// Filter must match; nil is all. Its fields are GroupFields.
	Filter filter.Expr
	Order  GroupOrder
	// After is where the page before ended; nil begins at the first page.
	After *GroupPlace
	// Limit is the size of the page, at most MaxPage.
	Limit int
}

// GroupPlace is a place in an order of groups: the value that it orders by, of times
// microseconds since 1970, and the sequence.
type GroupPlace struct{ Value, Sequence int64 }

// Place is that of a group in the order.
func (o GroupOrder) Place(g *Group) GroupPlace {
	switch o {
	case ByFirstSeen:
		return GroupPlace{g.FirstSeen.UnixMicro(), g.Sequence}
	case ByCount:
		return GroupPlace{g.Count, g.Sequence}
	case ByOpen:
		return GroupPlace{g.Open, g.Sequence}
	}
	return GroupPlace{g.LastSeen.UnixMicro(), g.Sequence}
}

// GroupPage is a page of groups.
type GroupPage struct {
	Groups []Group
	// More says that others follow; go on after the last one's place.
	More bool
}

// GroupUpdate changes a group.
type GroupUpdate struct {
	ID string
	// Etag, if set, must be the group's.
	Etag string
	// State, Note and MuteUntil are new values; nil leaves one as it is.
	State     *GroupState
	Note      *string
	MuteUntil *time.Time
	// By is the call that asks for it.
	By Call
}

// AggregateQuery says what to count.
type AggregateQuery struct {
	// Filter must match; nil is all.
	Filter filter.Expr
	// By is what to count by: fields, or labels.
	By []AggregateKey
	// Interval is what to count the times of death by, since 1970; 0 is not.
	Interval time.Duration
}

// AggregateKey is a field, or if Label is set the value of that label. Of the fields
// state, cause and code it is the number; FieldType, FieldReason, FieldWorkerVersion,
// FieldGroupID and FieldQueue are the others.
type AggregateKey struct {
	Field filter.Field
	Label string
}

// Aggregate is one count.
type Aggregate struct {
	// Values are those of AggregateQuery.By, numbers in decimal, empty for none.
	Values []string
	// Start is when the interval begins; zero without one.
	Start time.Time
	Count int64
	// First and Last are when the first and the last of them died last.
	First, Last time.Time
}

// Ungrouped is a dead letter whose runs are to be grouped.
type Ungrouped struct {
	// Sequence is its place in the order of arrival.
	Sequence int64
	Type     string
	// Runs are those that died.
	Runs []UngroupedRun
}

// UngroupedRun is a run that died.
type UngroupedRun struct {
	Run     int
	Cause   task.Cause
	Reason  string
	Failure *task.Failure
}

// Regrouping says which groups the runs of a dead letter belong to.
type Regrouping struct {
	Sequence int64
	// Version is that of the fingerprints.
	Version int
	// Runs are fingerprints by the run.
	Runs map[int]Fingerprint
}

// The fields of filters of groups, besides those of dead letters.
const (
	FieldDomain        filter.Field = "domain"
	FieldNote          filter.Field = "note"
	FieldCount         filter.Field = "count"
	FieldOpenCount     filter.Field = "open_count"
	FieldFirstSeenTime filter.Field = "first_seen_time"
	FieldLastSeenTime  filter.Field = "last_seen_time"
)

// GroupFields is what filters of groups may ask for.
var GroupFields = filter.Schema{
	FieldState: filter.Names("FAILURE_GROUP_STATE_", map[string]int{
		GroupOpen.String(): int(GroupOpen), GroupAcknowledged.String(): int(GroupAcknowledged),
		GroupResolved.String(): int(GroupResolved), GroupRegressed.String(): int(GroupRegressed),
	}),
	FieldType: filter.Texts(), FieldCause: filter.Causes(), FieldCode: filter.Codes(), FieldReason: filter.Texts(),
	FieldDomain: filter.Texts(), FieldMessage: filter.Texts(), FieldNote: filter.Texts(),
	FieldCount: filter.Numbers(nil), FieldOpenCount: filter.Numbers(nil),
	FieldFirstSeenTime: filter.Times(), FieldLastSeenTime: filter.Times(),
}

// maxGroupText bounds each text of a group, in bytes.
const maxGroupText = 4096

// Normalize returns a fingerprint in the shape in which it is kept: texts as those of an
// arrival, at most 4 KiB of each.
func (f Fingerprint) Normalize() Fingerprint {
	f.Domain, f.Message, f.Custom = CutGroupText(f.Domain), CutGroupText(f.Message), CutGroupText(f.Custom)
	return f
}

// CutGroupText is a text as a group shows it.
func CutGroupText(text string) string {
	text = cleanText(text)
	if len(text) <= maxGroupText {
		return text
	}
	end := maxGroupText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// Apply changes a group's state, note and muting, and says what has changed: the state
// first.
func (u *GroupUpdate) Apply(g *Group) []AuditChange {
	var changes []AuditChange
	change := func(field, before, after string) {
		if before != after {
			changes = append(changes, AuditChange{Field: field, Before: before, After: after})
		}
	}
	if u.State != nil {
		change("state", g.State.String(), u.State.String())
		g.State = *u.State
	}
	if u.Note != nil {
		note := cleanText(*u.Note)
		change("note", g.Note, note)
		g.Note = note
	}
	if u.MuteUntil != nil {
		until := cleanTime(*u.MuteUntil)
		change("mute_until_time", timeText(g.MuteUntil), timeText(until))
		g.MuteUntil = until
	}
	return changes
}

// timeText is a time as an audit shows it; empty for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
