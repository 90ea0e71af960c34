package store

import (
	"context"
	"errors"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// ErrTooMany says that as many cancellations are kept as may be. Some are forgotten
// a while, two hours, after workers have met their messages.
var ErrTooMany = errors.New("too many cancellations are outstanding")

// MaxCancellations bounds the cancellations that are kept.
const MaxCancellations = 1_000_000

// Controls keeps what is cancelled, what operators have set of task types'
// consumption, and which workers there are. Errors of all methods besides those
// named: ErrUnavailable, the context's.
type Controls interface {
	// Cancel puts cancellations of tasks on record, all in one transaction, as many
	// answers as requests and in their order. A task that waits for its time is
	// CANCELLED by it and its message forgotten, unless that was ever leased, and so
	// may be in its queue; of any other
	// that has not ended, the cancellation of its present run is outstanding from
	// then on. Asking again changes nothing. Errors: ErrTooMany, with nothing changed.
	Cancel(ctx context.Context, requests []CancelRequest) ([]CancelAnswer, error)

	// Cancellations returns the cancellations that are not forgotten, with positions
	// above after, ascending, at most limit.
	Cancellations(ctx context.Context, after int64, limit int) ([]Cancellation, error)

	// CancelPosition is the highest position that was ever given; 0 for none.
	CancelPosition(ctx context.Context) (int64, error)

	// ForgetCancellations forgets cancellations whose message was seen before a time,
	// by the store's clock: a terminal event of a delivery of their run was
	// applied, or its death. Other messages of the run may be there still. It returns
	// them, ascending, at most limit.
	ForgetCancellations(ctx context.Context, seenBefore time.Time, limit int) ([]Cancellation, error)

	// PutControl keeps what operators have set, in place of the one with the version
	// c.Version - 1; version 1 is the first. ErrChanged says that the one that is kept
	// has another version; to put the very one that is kept does nothing.
	PutControl(ctx context.Context, c Control) error

	// Controls returns what is set, by task type and worker.
	Controls(ctx context.Context) ([]Control, error)

	// PutWorkers keeps what is known of workers, each in place of what was.
	PutWorkers(ctx context.Context, workers []WorkerRecord) error

	// Workers returns the workers that are kept, by id.
	Workers(ctx context.Context) ([]WorkerRecord, error)

	// ForgetWorkers forgets the workers that were seen before a time last, and the
	// controls that are for them alone.
	ForgetWorkers(ctx context.Context, seenBefore time.Time) error

	// Queued is how a task type's queue stands by the store: the tasks that wait for
	// a retry, a million of them at most, and since when the oldest one by its id that
	// is QUEUED has been so. It looks no longer than about a second for that: oldest
	// is zero if there is none, or, if known is false, none was found in that time.
	Queued(ctx context.Context, taskType string) (retrying int64, oldest time.Time, known bool, err error)
}

// CancelRequest asks for the cancellation of a task's present run.
type CancelRequest struct {
	TaskID string
	Reason string
	Time   time.Time
}

// CancelAnswer says what became of it.
type CancelAnswer struct {
	// Task is as it is then; it has no ID if it is not known.
	Task task.Task
	// Outstanding is the cancellation, if it is, or was and the run has ended since;
	// its Position is 0 for none.
	Outstanding Cancellation
	// Changed says that the task was CANCELLED just now.
	Changed bool
}

// Cancellation is that of one run of a task.
type Cancellation struct {
	TaskID string
	Run    int
	Type   string
	// Position is its place in the list of all that ever were, from 1. A position
	// is given in the order of commits.
	Position int64
	Reason   string
	Time     time.Time
	// Seen is when its message was seen, by the store's clock; zero for not yet.
	Seen time.Time
}

// Control is what operators have set of a task type's consumption.
type Control struct {
	TaskType string
	// WorkerID is empty for all workers.
	WorkerID string
	// Version grows by one with each change, from 1.
	Version int64
	// Encoded is a warren.broker.v1.TypeControl.
	Encoded []byte
	Reason  string
	Time    time.Time
}

// WorkerRecord is what is known of a worker.
type WorkerRecord struct {
	ID string
	// Heartbeat is the last one, an encoded warren.broker.v1.Heartbeat.
	Heartbeat []byte
	// Seen is when it was heard of last.
	Seen time.Time
	// Gone is since when it is known to start nothing any more; zero for not.
	Gone time.Time
}

// Keys keeps idempotency keys. Errors of all methods besides those named:
// ErrUnavailable, the context's.
type Keys interface {
	// ClaimKeys claims keys for submissions, all in one transaction, as many answers
	// as claims and in their order; of two claims on one key the first counts. A key
	// is nobody's again once its window has ended, unless somebody holds it just
	// then. Claiming again as the owner who holds it changes nothing but the end of
	// the lease.
	ClaimKeys(ctx context.Context, now time.Time, claims []KeyClaim) ([]KeyAnswer, error)

	// RenewKeys puts off the end of leases to until. It returns for each whether the
	// owner holds it still: a claim whose lease has ended can be renewed until
	// another owner takes the key.
	RenewKeys(ctx context.Context, keys []KeyRef, until time.Time) ([]bool, error)

	// SettleKeys ends claims of their owners: of one that was submitted, the key
	// answers with its task from then on; one that was not is as it was before the
	// claim. Those that the owner does not hold any more are passed over.
	SettleKeys(ctx context.Context, keys []KeyRef, submitted bool) error

	// PurgeKeys forgets keys whose window has ended, and that nobody holds: at most
	// limit, bounded by MaxPurge. It returns how many it were.
	PurgeKeys(ctx context.Context, now time.Time, limit int) (int, error)
}

// KeyClaim claims an idempotency key of a task type for a task.
type KeyClaim struct {
	Type, Key string
	// Digest is of what is submitted.
	Digest [32]byte
	// TaskID is the task's, if the key is nobody's yet.
	TaskID string
	// Owner is a random id of this claim.
	Owner string
	// Until is when its lease ends, WindowEnd when the key is forgotten, if it is
	// nobody's yet.
	Until, WindowEnd time.Time
}

// KeyOutcome says whose a key is.
type KeyOutcome int

// Whose a key is.
const (
	// KeyMine: whoever asked is to submit, under the TaskID of the answer.
	KeyMine KeyOutcome = iota + 1
	// KeyBusy: another is submitting, and holds the key until Until.
	KeyBusy
	// KeyDone: the task TaskID was submitted with it.
	KeyDone
	// KeyConflict: the task TaskID has it, with another digest.
	KeyConflict
)

// KeyAnswer answers a claim.
type KeyAnswer struct {
	Outcome KeyOutcome
	TaskID  string
	// Again says, of KeyMine, that an earlier owner may have submitted the task.
	Again bool
	// Until is when the lease ends of who holds the key, of KeyMine and KeyBusy.
	Until time.Time
}

// KeyRef names a claim.
type KeyRef struct {
	Type, Key, Owner string
}
