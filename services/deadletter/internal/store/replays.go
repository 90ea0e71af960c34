package store

import (
	"context"

	"github.com/warrenmq/warren/pkg/filter"
)

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

// ReopenRequest asks to give up the outcome of a dead letter's replay.
type ReopenRequest struct {
	ID string
	// Etag, if set, must be the dead letter's.
	Etag string
	// Force: though it is not overdue.
	Force bool
	By    Call
}
