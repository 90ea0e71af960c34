// Package store is the contract of the dead-letter service's store: dead
// letters with their occurrences, the intents of replays, the audit of all that
// was done, and the notifications that are still to be sent. It knows nothing of
// SQL, AMQP or gRPC; engines live beside it, and every engine passes the suite
// in storetest.
//
// Every change of a dead letter is one transaction with its audit entry, is
// durable when the call returns, and happens only if the dead letter is still as
// the call expects it; so callers may race, also from several processes.
// All methods may be called by several goroutines. Times are kept to the
// microsecond and returned in UTC. Ids are taken in any spelling that a UUID has
// and returned in the canonical one; an id that is no UUID belongs to nothing.
// Texts are kept as [Arrival] says.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// What a store answers when it can't do as it was asked. Any other error is
// either the context's or a fault of the engine or of its data; none of those
// has changed anything.
var (
	// ErrNotFound: there is no such dead letter, intent or notification.
	ErrNotFound = errors.New("not found in the store")
	// ErrUnavailable: the store can't work now: locked, full, read-only, out of
	// reach, closed. Try the same again later. A commit whose answer was lost
	// may have happened.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrBadArrival: one of the arrivals can't be stored, and never will be. Who
	// wants to know which one halves the batch.
	ErrBadArrival = errors.New("an arrival cannot be stored")
	// ErrNotOpen: the dead letter is in another state than the call needs, which is
	// OPEN unless the call says otherwise. The error is a [NotOpenError].
	ErrNotOpen = errors.New("the dead letter is not OPEN")
	// ErrEtag: the dead letter has changed since it had the etag that was given.
	ErrEtag = errors.New("the dead letter has changed")
	// ErrNotReplayable: the dead letter is a message that is no task.
	ErrNotReplayable = errors.New("the dead letter is no task")
	// ErrRun: the run is not above the last one that died, so the dead letter has
	// changed since the run was chosen. Look again.
	ErrRun = errors.New("the run is not the next one")
	// ErrNotPending: the intent needs no publishing any more: it was carried out,
	// or its run is known to have ended.
	ErrNotPending = errors.New("the replay is not pending")
)

// NotOpenError is ErrNotOpen with the state that the dead letter is in.
type NotOpenError struct {
	ID    string
	State State
	// Holder is who replays it if it is IN_REPLAY.
	Holder Holder
}

// Error implements error.
func (e *NotOpenError) Error() string {
	return fmt.Sprintf("dead letter %s is %s", e.ID, e.State)
}

// Is says that the error is ErrNotOpen.
func (e *NotOpenError) Is(target error) bool { return target == ErrNotOpen }

// Bounds that hold in every engine.
const (
	// MaxPage bounds the dead letters, intents or notifications of one answer.
	MaxPage = 1000
	// MaxPageBytes bounds the messages, failures and attempts, as they are stored,
	// of one answer of full dead letters, in bytes.
	MaxPageBytes = 4 << 20
)

// Store keeps dead letters.
type Store interface {
	Audits
	Notifications
	Selections
	Replays
	Groups
	Bulk
	Policies
	Retention
	Revisions

	// Put takes in messages that died, in the order given and in one transaction:
	// all of them, durably, or none. For each in turn:
	//
	//   - one whose run the dead letter has already changes nothing: the first
	//     stays;
	//   - the first of its id makes an OPEN dead letter;
	//   - one of a higher run than all before is what the dead letter shows from
	//     then on, message and template included, and makes it OPEN again,
	//     whatever its state, unless it is of a run before the one that is being
	//     replayed, or of a run that is known to have succeeded or to have been
	//     cancelled (that is history). It ends the intents of its run and of
	//     earlier ones;
	//   - one of a lower run just enters the history;
	//   - one of a run that was known when the dead letter was purged changes nothing.
	//
	// One that would make a dead letter OPEN that was replayed as often as its type's
	// policy allows makes it QUARANTINED.
	//
	// With it, notifications are enqueued: for the built-in rule if the arrival makes a
	// dead letter OPEN or QUARANTINED, or finds it so, and has Notify set; and for the
	// rules of what has happened, as [Notifications] says.
	//
	// It returns one change for each arrival, at the same index. Errors:
	// ErrUnavailable, ErrBadArrival, the context's.
	Put(ctx context.Context, arrivals []Arrival) ([]Change, error)

	// Get returns a dead letter; without full, it has neither occurrences, nor
	// message, nor template, nor details of its failure. Errors: ErrNotFound,
	// ErrUnavailable, the context's.
	Get(ctx context.Context, id string, full bool) (DeadLetter, error)

	// List returns a page of dead letters in the order in which they first came
	// in, the last one first unless the query says otherwise. A dead letter that
	// comes in again keeps its place. Errors: ErrUnavailable, the context's.
	List(ctx context.Context, q Query) (Page, error)

	// Count says how many dead letters a query selects, After, Limit, OldestFirst
	// and Full aside. Errors: ErrUnavailable, the context's.
	Count(ctx context.Context, q Query) (int64, error)

	// CountOpen counts the OPEN dead letters. Those of messages that are no tasks are
	// counted under no type. Errors: ErrUnavailable, the context's.
	CountOpen(ctx context.Context) ([]OpenCount, error)

	// Changes returns the dead letters that changed after a place in the sequence
	// of all changes, as they are now and in the order of their last change: those
	// that match the filter (nil is all), at most limit (bounded by MaxPage). If
	// full, it ends as Query.Full says. Errors: ErrUnavailable, the context's.
	Changes(ctx context.Context, after int64, f filter.Expr, limit int, full bool) (ChangePage, error)

	// LatestChange is the place of the last change; 0 before the first. Errors:
	// ErrUnavailable, the context's.
	LatestChange(ctx context.Context) (int64, error)

	// BeginReplay makes an OPEN dead letter IN_REPLAY and stores the intent to
	// publish the given run, or the next one above those that were begun, if that is
	// higher. Of those who race, one wins. Errors, the first that
	// applies: ErrNotFound, ErrNotReplayable, ErrNotOpen, ErrEtag, ErrHeld, ErrRun; and
	// ErrUnavailable, the context's.
	BeginReplay(ctx context.Context, r ReplayRequest) (DeadLetter, Intent, error)

	// ResolveNow makes an OPEN or QUARANTINED dead letter RESOLVED, because its task is
	// known to have ended well in the given run. Errors, the first that applies:
	// ErrNotFound, ErrNotReplayable, ErrNotOpen, ErrEtag; and ErrUnavailable, the
	// context's.
	ResolveNow(ctx context.Context, r ResolveRequest) (DeadLetter, error)

	// Discard makes an OPEN or QUARANTINED dead letter DISCARDED. Errors, the first that
	// applies: ErrNotFound, ErrNotOpen, ErrEtag, ErrHeld; and ErrUnavailable, the
	// context's.
	Discard(ctx context.Context, r DiscardRequest) (DeadLetter, error)

	// Intents returns the intents that are in a state, in the order in which they
	// were stored: those whose Sequence is above after, at most limit (bounded by
	// MaxPage). PENDING ones of a PAUSED replay are left out. Errors: ErrUnavailable, the context's.
	Intents(ctx context.Context, state IntentState, after int64, limit int) ([]Intent, error)

	// MarkPublishing counts a publish of a PENDING intent's message, which must
	// follow; call it before each. If Publishes of the intent that it returns is
	// above 1, another message of the run may exist. One of a PAUSED replay is not to be
	// published now. Errors: ErrNotFound, ErrNotPending, ErrUnavailable, the context's.
	MarkPublishing(ctx context.Context, intentID string) (Intent, error)

	// MarkPublished makes a PENDING intent PUBLISHED: its message and QUEUED event
	// are confirmed. It does nothing for one that is not PENDING any more. Errors:
	// ErrNotFound, ErrUnavailable, the context's.
	MarkPublished(ctx context.Context, intentID string) error

	// MarkUnroutable notes that no queue has taken a PENDING intent's message; it
	// stays PENDING. It does nothing for one that is not PENDING any more. Errors:
	// ErrNotFound, ErrUnavailable, the context's.
	MarkUnroutable(ctx context.Context, intentID string) error

	// Resolve makes a dead letter RESOLVED whose replay of the given run is known
	// to have ended with an outcome other than OutcomeDeadLettered, and ends the
	// intent, PENDING or PUBLISHED. False says that the dead letter is not IN_REPLAY
	// with that run, and that nothing was changed. Errors: ErrNotFound,
	// ErrUnavailable, the context's.
	Resolve(ctx context.Context, id string, run int, outcome Outcome) (bool, error)

	// Hold keeps what waits to be judged, all of it durably or none. One whose key
	// is there already changes nothing. Errors: ErrUnavailable, the context's.
	Hold(ctx context.Context, held []Held) error

	// Held returns what waits, in the order in which it was stored: that with a
	// Sequence above after, at most limit (bounded by MaxPage); a page ends, not
	// before its first, where the next Data would exceed MaxPageBytes in all.
	// Errors: ErrUnavailable, the context's.
	Held(ctx context.Context, after int64, limit int) ([]Held, error)

	// Unhold forgets what waits under the keys; unknown ones are passed over.
	// Errors: ErrUnavailable, the context's.
	Unhold(ctx context.Context, keys []string) error

	// Check really writes a row and reads it back; nil means that the store
	// works. It answers within 3 s, whatever the context allows. Errors:
	// ErrUnavailable, the context's.
	Check(ctx context.Context) error

	// Close waits for calls under way and releases the store. Calls after it
	// fail with ErrUnavailable; a second Close does nothing.
	Close() error
}

// Query selects dead letters.
type Query struct {
	// Filter must match; nil is all.
	Filter filter.Expr
	// State must be that of the dead letter; 0 is any.
	State State
	// After is the Sequence of the last dead letter of the page before; 0 begins
	// at the first page.
	After int64
	// OldestFirst turns the order round.
	OldestFirst bool
	// Limit is the size of the page, at most MaxPage.
	Limit int
	// Full selects everything. Such a page has at least one dead letter, and ends
	// where the next one would exceed MaxPageBytes in all.
	Full bool
}

// OpenCount is how many OPEN dead letters a task type has of a cause.
type OpenCount struct {
	// Type is empty for messages that are no tasks.
	Type  string
	Cause task.Cause
	Count int64
	// Oldest is when the first of them died.
	Oldest time.Time
}

// Page is a page of dead letters.
type Page struct {
	DeadLetters []DeadLetter
	// More says that others follow; go on after the last one's Sequence.
	More bool
}

// ChangePage is a part of the sequence of changes.
type ChangePage struct {
	DeadLetters []DeadLetter
	// Through is the place up to which changes were looked at, at least the place
	// that was asked for: go on after it.
	Through int64
	// More says that the page was full: there may be more already.
	More bool
}
