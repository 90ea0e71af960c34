package store

import (
	"fmt"
	"time"
)

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
