package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// ErrRevisions says that the dead letter has MaxRevisions payloads.
var ErrRevisions = errors.New("the dead letter has as many revisions as it can")

// Bounds of revisions.
const (
	// MaxRevisions bounds the payloads of a dead letter, the original included.
	MaxRevisions = 100
	// MaxRevisionBytes bounds the payloads and diffs of the revisions of a full dead
	// letter, in bytes; the last one is there whatever its size.
	MaxRevisionBytes = 1 << 20
)

// Revisions are the payloads that operators have made for dead letters' tasks. The
// original is revision 1; each new one gets the next number. They stay when the task
// dies again: the dead letter's message then has the one that ran.
type Revisions interface {
	// Revise keeps a new payload, which does not change the dead letter's state.
	// Errors, the first that applies: ErrNotFound, ErrNotReplayable, ErrNotOpen (it is
	// neither OPEN nor QUARANTINED), ErrEtag, ErrHeld, ErrRevisions; and
	// ErrUnavailable, the context's.
	Revise(ctx context.Context, r ReviseRequest) (DeadLetter, Revision, error)

	// Payload returns a payload of a dead letter by its place in the order of arrival:
	// that of a revision, 0 for the last one. False says that there is none.
	// Errors: ErrUnavailable, the context's.
	Payload(ctx context.Context, sequence int64, revision int) ([]byte, bool, error)

	// Revision returns a revision with its payload and diff. False is as of Payload.
	// Of a dead letter that nobody has revised the original has neither time nor
	// digest. Errors: ErrUnavailable, the context's.
	Revision(ctx context.Context, sequence int64, revision int) (Revision, bool, error)
}

// ReviseRequest asks for a new payload.
type ReviseRequest struct {
	ID string
	// Etag must be the dead letter's.
	Etag string
	// Payload is the new one.
	Payload []byte
	// Diff says what it changes against the last one, for people.
	Diff string
	// By is the call that asks for it.
	By Call
}

// Revision is a payload of a dead letter.
type Revision struct {
	// Number is 1 for the original.
	Number int
	// Time is when it was made, by the store's clock; zero for the original.
	Time time.Time
	// Actor is who made it, and Reason why; empty for the original.
	Actor, Reason string
	// Size is that of the payload in bytes.
	Size int64
	// SHA256 is that of the payload.
	SHA256 []byte
	// Diff is the request's; empty for the original.
	Diff string
	// Payload is nil if it is empty.
	Payload []byte
	// Omitted says that payload and diff were left out, as others took up
	// MaxRevisionBytes.
	Omitted bool
}

// NewRevision is the revision of a number that a request makes, but for its time.
func NewRevision(number int, payload []byte, diff string, by Call) Revision {
	digest := sha256.Sum256(payload)
	return Revision{
		Number: number, Actor: by.Actor, Reason: by.Reason, Size: int64(len(payload)), SHA256: digest[:], Diff: diff, Payload: orNil(payload),
	}
}
