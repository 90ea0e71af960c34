package store

import (
	"context"
	"errors"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// ErrNoSelection says that a token selects nothing: it is unknown, or has expired.
var ErrNoSelection = errors.New("no such selection")

// Bounds of selections.
const (
	// SelectionTTL is how long a selection is kept.
	SelectionTTL = time.Hour
	// MaxSelections bounds the selections that are kept: the oldest goes first.
	MaxSelections = 200
	// MaxMissing bounds the ids that a selection tells as missing.
	MaxMissing = 100
)

// Selections are sets of dead letters that were frozen, each as it was then.
type Selections interface {
	// Freeze selects dead letters and keeps the set under a token. It changes no dead
	// letter. Errors: ErrUnavailable, the context's.
	Freeze(ctx context.Context, r FreezeRequest) (Selection, error)

	// Select selects as Freeze does, and keeps nothing: the selection has neither token
	// nor expiry. Errors: ErrUnavailable, the context's.
	Select(ctx context.Context, r FreezeRequest) (Selection, error)

	// Selection returns what a token selects. Errors: ErrNoSelection, ErrUnavailable,
	// the context's.
	Selection(ctx context.Context, token string) (Selection, error)

	// Selected returns dead letters by their place in the order of arrival, in the
	// order asked for, those that are not there left out; at most MaxPage. Full and its
	// bound are as of Query. Errors: ErrUnavailable, the context's.
	Selected(ctx context.Context, sequences []int64, full bool) ([]DeadLetter, error)
}

// FreezeRequest says which dead letters: those that are named, or else those that match.
type FreezeRequest struct {
	// IDs names dead letters, in any state.
	IDs []string
	// Filter must match unless IDs are given; nil is all.
	Filter filter.Expr
	// States are those that count, unless IDs are given; empty is all.
	States []State
	// Limit is how many of those that match, the first ones; 0 is all.
	Limit int
}

// Selection is a set of dead letters.
type Selection struct {
	// Token is a random UUID.
	Token string
	// ExpireTime is when the token ends.
	ExpireTime time.Time
	// Members are in the order in which they first came in.
	Members []Member
	// Digest is the SHA-256 of the members' ids, 16 bytes each, in their order.
	Digest []byte
	// Missing are IDs that belong to nothing, at most MaxMissing.
	Missing []string
	// ByType and ByCause count the members, the most first.
	ByType  []TypeCount
	ByCause []CauseCount
}

// Member is a dead letter as it was when it was selected.
type Member struct {
	// Sequence is its place in the order of arrival.
	Sequence int64
	// Version is its etag as a number.
	Version int64
}

// TypeCount counts the members of a type.
type TypeCount struct {
	Type  string `json:"type"`
	Count int64  `json:"count"`
}

// CauseCount counts the members of a cause.
type CauseCount struct {
	Cause task.Cause `json:"cause"`
	Count int64      `json:"count"`
}
