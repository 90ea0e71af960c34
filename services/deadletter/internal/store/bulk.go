package store

import (
	"context"
	"errors"
	"slices"
)

// ErrHeld says that a hold keeps the dead letter, or all of its type, as it is.
var ErrHeld = errors.New("the dead letter is on hold")

// MaxBulk bounds the members of one call of ChangeMembers.
const MaxBulk = 500

// Bulk changes members of selections, each for itself.
type Bulk interface {
	// ChangeMembers does something with each of at most MaxBulk members with which it
	// can be done, in one transaction, and says of each what became of it, in their
	// order. The first call of many that changes something adds an audit event, which
	// the others, given its sequence, bring up to date. Errors: ErrUnavailable, the
	// context's.
	ChangeMembers(ctx context.Context, r BulkRequest) (BulkAnswer, error)

	// JudgeMembers says what ChangeMembers would make of members, at most MaxPage, and
	// changes nothing. Errors: ErrUnavailable, the context's.
	JudgeMembers(ctx context.Context, r BulkRequest) ([]BulkItem, error)
}

// BulkAction is what is done with dead letters. The zero value is none.
type BulkAction int

// The actions.
const (
	// BulkDiscard gives up what is OPEN or QUARANTINED.
	BulkDiscard BulkAction = iota + 1
	// BulkRestore makes OPEN what is DISCARDED or QUARANTINED, as if it had never been
	// replayed.
	BulkRestore
	// BulkPurge makes a tombstone of what is DISCARDED or RESOLVED.
	BulkPurge
	// BulkHold keeps what is not PURGED as it is, and BulkRelease lets it go.
	BulkHold
	BulkRelease
)

var bulkStates = map[BulkAction][]State{
	BulkDiscard: {StateOpen, StateQuarantined},
	BulkRestore: {StateDiscarded, StateQuarantined},
	BulkPurge:   {StateDiscarded, StateResolved},
	BulkHold:    {StateOpen, StateInReplay, StateResolved, StateDiscarded, StateQuarantined},
	BulkRelease: {StateOpen, StateInReplay, StateResolved, StateDiscarded, StateQuarantined},
}

// From returns the states of the dead letters with which it can be done.
func (a BulkAction) From() []State { return slices.Clone(bulkStates[a]) }

// BulkRequest asks to do something with members of a selection.
type BulkRequest struct {
	Action  BulkAction
	Members []Member
	// Versioned: what has changed since it was selected is left as it is.
	Versioned bool
	// By is the call that asks for it.
	By Call
	// Audit is the event of the call.
	Audit BulkAudit
}

// BulkAudit is the audit event of a call that changes members by many calls of the
// store.
type BulkAudit struct {
	// Event is the Sequence of the event that the call has already, 0 for none.
	Event int64
	// Resource is what it is about.
	Resource string
	// Changes are the event's, to which the counts are added.
	Changes []AuditChange
	// Changed and Skipped are how many members were so far.
	Changed, Skipped int64
}

// BulkAnswer is what became of members.
type BulkAnswer struct {
	Items []BulkItem
	// Event is that of BulkAudit, for the next call.
	Event int64
}

// BulkItem is what became, or would become, of a member.
type BulkItem struct {
	// ID is empty if there is no such dead letter any more.
	ID string
	// State is that which was found.
	State State
	// Obstacle says why nothing was done; ObstacleNone that it was.
	Obstacle Obstacle
}

// Obstacle is why something can't be done with a dead letter.
type Obstacle int

// The obstacles, the first that applies.
const (
	// ObstacleNone: it can be done.
	ObstacleNone Obstacle = iota
	// ObstacleGone: there is no such dead letter any more.
	ObstacleGone
	// ObstacleInReplay: it is IN_REPLAY.
	ObstacleInReplay
	// ObstacleChanged: it has changed since it was selected.
	ObstacleChanged
	// ObstacleState: it is in another state than the action needs.
	ObstacleState
	// ObstacleHeld: it, or its type, is on hold.
	ObstacleHeld
	// ObstacleDone: it is so already.
	ObstacleDone
)

// Standing is what decides what can be done with a dead letter.
type Standing struct {
	State   State
	Version int64
	// Held: an operator keeps it as it is; TypeHeld: all of its type.
	Held, TypeHeld bool
}

// Obstacle says what keeps an action from being done with a dead letter whose version
// must be the one given, unless that is 0. A restore loses nothing, so a hold allows
// it.
func (a BulkAction) Obstacle(s Standing, version int64) Obstacle {
	fits := slices.Contains(bulkStates[a], s.State)
	switch {
	case !fits && s.State == StateInReplay:
		return ObstacleInReplay
	case version != 0 && version != s.Version:
		return ObstacleChanged
	case !fits:
		return ObstacleState
	case (a == BulkDiscard || a == BulkPurge) && (s.Held || s.TypeHeld):
		return ObstacleHeld
	case a == BulkHold && s.Held, a == BulkRelease && !s.Held:
		return ObstacleDone
	}
	return ObstacleNone
}
