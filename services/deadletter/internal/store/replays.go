package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
)

// What replays answer, besides what [Store] does.
var (
	// ErrNoReplay: there is no such replay.
	ErrNoReplay = errors.New("no such replay")
	// ErrReplayEnded: the replay begins nothing any more. The error is a
	// [ReplayEndedError].
	ErrReplayEnded = errors.New("the replay has ended")
	// ErrRequestID: the request id made another replay. The error is a
	// [RequestIDError].
	ErrRequestID = errors.New("the request id is taken")
	// ErrMoved: the replay is not where the caller believes it is. Look again.
	ErrMoved = errors.New("the replay has moved on")
	// ErrNotOverdue: the outcome may come by itself. The error is a [NotOverdueError].
	ErrNotOverdue = errors.New("the outcome is not overdue")
)

// ReplayEndedError is ErrReplayEnded with the state that the replay is in.
type ReplayEndedError struct{ State ReplayState }

// Error implements error.
func (e *ReplayEndedError) Error() string { return "the replay is " + e.State.String() }

// Is says that the error is ErrReplayEnded.
func (e *ReplayEndedError) Is(target error) bool { return target == ErrReplayEnded }

// RequestIDError is ErrRequestID with the replay that the request id made.
type RequestIDError struct{ ReplayID string }

// Error implements error.
func (e *RequestIDError) Error() string { return "the request id made replay " + e.ReplayID }

// Is says that the error is ErrRequestID.
func (e *RequestIDError) Is(target error) bool { return target == ErrRequestID }

// NotOverdueError is ErrNotOverdue with the time at which the outcome will be.
type NotOverdueError struct{ Time time.Time }

// Error implements error.
func (e *NotOverdueError) Error() string {
	return fmt.Sprintf("the outcome is overdue at %s", e.Time.Format(time.RFC3339))
}

// Is says that the error is ErrNotOverdue.
func (e *NotOverdueError) Is(target error) bool { return target == ErrNotOverdue }

// OverdueAfter is how long after its begin a run's outcome is overdue: twice what the
// longest attempt may take, which is 12 h and an hour in which its message waits within
// a worker. A task that waits for a worker, or for its next attempt, may take longer.
const OverdueAfter = 26 * time.Hour

// ReplayState is where a replay stands. The numbers are those of
// warren.deadletter.v1.ReplayState; the zero value is no state.
type ReplayState int

// The states of a replay.
const (
	// ReplayPending: its time has not come.
	ReplayPending ReplayState = iota + 1
	// ReplayCanary: its first items must succeed before another is begun.
	ReplayCanary
	// ReplayRunning: its items are begun.
	ReplayRunning
	// ReplayPaused: nothing is begun until it is resumed.
	ReplayPaused
	// ReplayCompleted: every item has ended.
	ReplayCompleted
	// ReplayCancelled: an operator has it begin nothing any more.
	ReplayCancelled
	// ReplayAborted: too much failed again, so that nothing is begun any more.
	ReplayAborted
)

var replayStateNames = [...]string{"UNSPECIFIED", "PENDING", "CANARY", "RUNNING", "PAUSED", "COMPLETED", "CANCELLED", "ABORTED"}

// String is the state's name as the API spells it.
func (s ReplayState) String() string {
	if s < 0 || int(s) >= len(replayStateNames) {
		return replayStateNames[0]
	}
	return replayStateNames[s]
}

// Begins says whether items are begun in the state.
func (s ReplayState) Begins() bool { return s == ReplayCanary || s == ReplayRunning }

// Over says that nothing is begun any more, for good.
func (s ReplayState) Over() bool {
	return s == ReplayCompleted || s == ReplayCancelled || s == ReplayAborted
}

// Expiry says when replayed tasks expire. The numbers are those of
// warren.deadletter.v1.ExpiryMode; the zero value is ExpiryNone.
type Expiry int

// The ways.
const (
	// ExpiryNone: never.
	ExpiryNone Expiry = iota + 1
	// ExpiryKept: when they would have the first time.
	ExpiryKept
	// ExpiryRenewed: as long after the replay as they had after their submission.
	ExpiryRenewed
)

// Plan says how a replay goes. Zero values are none, or the default.
type Plan struct {
	// MaxPerSecond bounds how many items are begun; 0 is as many as can be.
	MaxPerSecond float64 `json:"max_per_second,omitempty"`
	// MaxInFlight bounds the items that were begun and have not ended; above 0.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Canary is how many must succeed first.
	Canary int `json:"canary,omitempty"`
	// AbortRatio is the share of failures above which the replay is aborted, from the
	// tenth end on; 0 is never.
	AbortRatio float64 `json:"abort_ratio,omitempty"`
	// Delay is the time from the creation to the begin.
	Delay time.Duration `json:"delay,omitempty"`
	// MaxAttempts is how many each run has; 0 is as the task's policy says.
	MaxAttempts int    `json:"max_attempts,omitempty"`
	Expiry      Expiry `json:"expiry,omitempty"`
	// Revision is that of the payloads; 0 is the last one of each.
	Revision int `json:"revision,omitempty"`
}

// Replay is a set of dead letters whose tasks are to run again.
type Replay struct {
	// ID is a UUIDv7.
	ID string
	// Sequence is its place in the order of creation.
	Sequence int64
	State    ReplayState
	// StateReason says why, for people.
	StateReason string
	// Etag changes with plan and state.
	Etag string
	// Selector is what was asked for, in the caller's encoding.
	Selector []byte
	// Digest and Missing are as of Selection.
	Digest  []byte
	Missing []string
	Plan    Plan
	// By is who created it; its peer is not kept.
	By     Call
	Counts ReplayCounts
	// Handled is how many members, the first ones, were begun or skipped.
	Handled int
	// CreateTime, DueTime, StartTime, UpdateTime and EndTime are when it was created, is
	// to begin, began its first item, changed last, and when everything had ended;
	// zero while that has not happened.
	CreateTime, DueTime, StartTime, UpdateTime, EndTime time.Time
}

// ReplayCounts counts a replay's items; Total is the sum of all others.
type ReplayCounts struct {
	Total, Pending, InFlight, Succeeded, FailedAgain, Cancelled, Skipped int64
	// Unknown are those given up, and those in flight whose outcome is overdue.
	Unknown int64
}

// ItemState is how an item stands. The numbers are those of
// warren.deadletter.v1.ReplayItemState; the zero value is no state.
type ItemState int

// The states of an item.
const (
	// ItemPending: not begun.
	ItemPending ItemState = iota + 1
	// ItemInFlight: begun, the outcome is not known yet.
	ItemInFlight
	// ItemSucceeded: its task has SUCCEEDED.
	ItemSucceeded
	// ItemFailedAgain: its task has died again.
	ItemFailedAgain
	// ItemCancelled: its task was CANCELLED.
	ItemCancelled
	// ItemSkipped: it was not begun and won't be.
	ItemSkipped
	// ItemUnknown: the outcome is overdue, or was given up.
	ItemUnknown
)

// Verdict says what would become, or has become, of a dead letter in a bulk job. The
// numbers are those of warren.deadletter.v1.Verdict; the zero value is none.
type Verdict int

// The verdicts.
const (
	VerdictReady Verdict = iota + 1
	VerdictInReplay
	VerdictQuarantined
	VerdictExpired
	VerdictNoWorkers
	VerdictSchemaIncompatible
	VerdictAlreadySucceeded
	VerdictWrongState
	VerdictChanged
	VerdictNoTask
	VerdictHeld
	VerdictNoRevision
	VerdictNotReplayable
)

var verdictNames = [...]string{
	"UNSPECIFIED", "READY", "IN_REPLAY", "QUARANTINED", "EXPIRED", "NO_WORKERS", "SCHEMA_INCOMPATIBLE", "ALREADY_SUCCEEDED",
	"WRONG_STATE", "CHANGED", "NO_TASK", "HELD", "NO_REVISION", "NOT_REPLAYABLE",
}

// String is the verdict's name as the API spells it.
func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return verdictNames[0]
	}
	return verdictNames[v]
}

// ReplayItem is one dead letter of a replay.
type ReplayItem struct {
	// Position is its place among the members, from 0.
	Position int
	// DeadLetterID is empty if the dead letter was gone before it could be begun.
	DeadLetterID string
	State        ItemState
	// Verdict and Message say why it was skipped.
	Verdict Verdict
	Message string
	// Run and Revision are those that were begun; 0 if none was.
	Run, Revision      int
	BeginTime, EndTime time.Time
}

// Holder is who replays a dead letter.
type Holder struct {
	// Actor is who asked for it, ReplayID the replay, empty if it is a single call's.
	Actor, ReplayID string
	// Since is when its run was begun.
	Since time.Time
}

// String says it for people.
func (h Holder) String() string {
	what := "a replay"
	if h.ReplayID != "" {
		what = "replay " + h.ReplayID
	}
	return fmt.Sprintf("%s by %q holds it since %s", what, h.Actor, h.Since.Format(time.RFC3339))
}

// Replays keeps replays.
type Replays interface {
	// CreateReplay stores a replay. One that the same request id and hash made is
	// returned as it is now. Errors: ErrRequestID, ErrUnavailable, the context's.
	CreateReplay(ctx context.Context, r NewReplay) (Replay, error)

	// Replay returns a replay. Errors: ErrNoReplay, ErrUnavailable, the context's.
	Replay(ctx context.Context, id string) (Replay, error)

	// ReplayOf returns the replay that a request made, if it has the hash. Errors:
	// ErrNoReplay, ErrRequestID, ErrUnavailable, the context's.
	ReplayOf(ctx context.Context, requestID string, hash []byte) (Replay, error)

	// Replays returns a page of replays, the last one created first, at most limit
	// (bounded by MaxPage). Errors: ErrUnavailable, the context's.
	Replays(ctx context.Context, q ReplayQuery) ([]Replay, error)

	// ReplayMembers returns all members of a replay in their order. Errors: ErrNoReplay,
	// ErrUnavailable, the context's.
	ReplayMembers(ctx context.Context, id string) ([]Member, error)

	// ReplayItems returns a page of items by their position. Errors: ErrNoReplay,
	// ErrUnavailable, the context's.
	ReplayItems(ctx context.Context, q ItemQuery) (ItemPage, error)

	// SteerReplay pauses, resumes, cancels or changes a replay. One that is as asked for
	// already stays as it is. What was begun and not published yet is pending again once
	// the replay is over. Errors: ErrNoReplay, ErrReplayEnded, ErrEtag, ErrUnavailable,
	// the context's.
	SteerReplay(ctx context.Context, s Steering) (Replay, error)

	// StartReplay lets a PENDING replay begin; it does nothing to another. Errors:
	// ErrNoReplay, ErrUnavailable, the context's.
	StartReplay(ctx context.Context, id string) (Replay, error)

	// Candidates returns the dead letters of members, as they are now, one for each of
	// the first of them: at least one, and fewer than there are where their messages
	// would exceed MaxPageBytes in all, or MaxPage. Errors: ErrUnavailable, the
	// context's.
	Candidates(ctx context.Context, members []Member) ([]Candidate, error)

	// BeginItems begins, resolves or skips the next members of a replay. An item whose
	// dead letter is not OPEN with its etag is skipped instead of begun. The intents of
	// those begun are PENDING with one publish, which the caller must do now. It says
	// which were begun, and returns the replay as it is then. Errors: ErrNoReplay;
	// ErrMoved unless the replay begins items and has handled as many as said;
	// ErrUnavailable, the context's.
	BeginItems(ctx context.Context, b Begin) (begun []bool, r Replay, err error)

	// MarkSent notes what has become of publishes of PENDING intents; others are passed
	// over. Errors: ErrUnavailable, the context's.
	MarkSent(ctx context.Context, sent []Sent) error

	// ResolveAll is Resolve for many; dead letters that there are not are passed over.
	// It says of each whether it was resolved. Errors: ErrUnavailable, the context's.
	ResolveAll(ctx context.Context, ended []Ended) ([]bool, error)

	// Holder says who replays a dead letter; the zero value if nobody does. Errors:
	// ErrNotFound, ErrUnavailable, the context's.
	Holder(ctx context.Context, id string) (Holder, error)

	// Reopen makes a dead letter OPEN whose replay's outcome is overdue, and ends the
	// intent with an unknown outcome. Errors, the first that applies: ErrNotFound,
	// ErrNotOpen (it is not IN_REPLAY), ErrEtag, ErrNotOverdue; and ErrUnavailable, the
	// context's.
	Reopen(ctx context.Context, r ReopenRequest) (DeadLetter, error)
}

// Stopped says that nothing of it is sent first now: it is paused, cancelled or aborted.
func (r *Replay) Stopped() bool { return r.State == ReplayPaused || r.State.Over() }

// NewReplay is a replay that is to be.
type NewReplay struct {
	// RequestID, if set, and RequestHash say which request it is of.
	RequestID   string
	RequestHash []byte
	Selector    []byte
	// Selection has members, digest and what is missing.
	Selection Selection
	Plan      Plan
	By        Call
}

// ReplayQuery selects replays.
type ReplayQuery struct {
	// Filter is of ReplayFields; nil is all.
	Filter filter.Expr
	// Active selects those that have not ended.
	Active bool
	// Before is the Sequence below which to go on; 0 is from the last one.
	Before int64
	Limit  int
}

// ItemQuery selects items of a replay.
type ItemQuery struct {
	ReplayID string
	// States are those wanted; empty is all.
	States []ItemState
	// From is the least position.
	From, Limit int
}

// ItemPage is a page of items.
type ItemPage struct {
	Items []ReplayItem
	// Next is the position from which to go on; 0 says that none follow.
	Next int
}

// SteerAction is what is to become of a replay.
type SteerAction int

// The actions.
const (
	SteerPause SteerAction = iota + 1
	SteerResume
	SteerCancel
	SteerUpdate
)

// Steering changes a replay.
type Steering struct {
	ReplayID string
	Action   SteerAction
	// Etag, if set, must be the replay's.
	Etag string
	// MaxPerSecond and MaxInFlight are the new ones of SteerUpdate; nil leaves them.
	MaxPerSecond *float64
	MaxInFlight  *int
	By           Call
}

// Candidate is a member of a replay, and its dead letter as it is now.
type Candidate struct {
	Member
	// DeadLetter has no ID if it is gone. It has its message's body, its template, and of
	// its occurrences the last one's attempts.
	DeadLetter DeadLetter
	// Begun is the highest run that was begun; 0 for none.
	Begun int
	// TypeHeld: the policy of its type keeps it as it is.
	TypeHeld bool
}

// Begin says what is to become of the next members of a replay.
type Begin struct {
	ReplayID string
	// Handled is how many were before.
	Handled int
	Items   []BeginItem
}

// BeginItem is what is to become of a member. VerdictReady begins it,
// VerdictAlreadySucceeded resolves its dead letter, any other one skips it.
type BeginItem struct {
	// Sequence, DeadLetterID and Etag are the dead letter's that was judged.
	Sequence     int64
	DeadLetterID string
	Etag         string
	Verdict      Verdict
	Message      string
	// IntentID is a new UUID.
	IntentID string
	// Run is the one to begin, or that has ended well.
	Run int
	// MaxAttempts, ExpireTime and Revision are as of Intent.
	MaxAttempts int
	ExpireTime  time.Time
	Revision    int
}

// Sent is what has become of a publish.
type Sent struct {
	IntentID string
	// Published: message and QUEUED event are confirmed. Else the message was certainly
	// not sent, and the publish does not count.
	Published bool
}

// Ended is a run that is known to have ended well.
type Ended struct {
	DeadLetterID string
	Run          int
	Outcome      Outcome
}

// ReopenRequest asks to give up the outcome of a dead letter's replay.
type ReopenRequest struct {
	ID string
	// Etag, if set, must be the dead letter's.
	Etag string
	// Force: though it is not overdue.
	Force bool
	By    Call
}

// FieldEndTime is when a replay ended, in filters.
const FieldEndTime filter.Field = "end_time"

// ReplayFields is what filters of replays may ask for.
var ReplayFields = filter.Schema{
	FieldState: filter.Names("REPLAY_STATE_", replayStates()), FieldActor: filter.Texts(), FieldReason: filter.Texts(),
	FieldCreateTime: filter.Times(), FieldEndTime: filter.Times(),
}

func replayStates() map[string]int {
	states := map[string]int{}
	for i, name := range replayStateNames {
		if i > 0 {
			states[name] = i
		}
	}
	return states
}
