// Package store is the contract of the gateway's store: tasks with their
// numbered histories and claims, the feed of all events, tombstones of purged
// tasks, the catalogue's bundles and operators' overrides.
// It speaks the types of pkg/task and knows nothing of SQL; engines live
// beside it, and every engine passes the suite in storetest.
//
// An engine may be shared by several gateways at the same time, if it says so:
// nothing in the contract relies on the memory of one process. All methods may
// be called by several goroutines. Times are kept to the microsecond and
// returned in UTC. Task ids are taken in any spelling that a UUID has and
// returned in the canonical one; an id that is no UUID belongs to no task.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// What a store answers when it can't do as it was asked. Any other error is
// either the context's or a fault of the engine or of its data; none of those
// has changed anything.
var (
	// ErrNotFound: there is no such task, event or body, or it was purged.
	ErrNotFound = errors.New("not found in the store")
	// ErrUnavailable: the store can't work now: locked, full, read-only, out of
	// reach, closed. Try the same again later. A commit whose answer was lost
	// may have happened, which does no harm: applying events again changes
	// nothing, nor does repeating any other call.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrChanged: somebody else has changed it meanwhile.
	ErrChanged = errors.New("it was changed meanwhile")
	// ErrRetired: the task type was retired, and no bundle that defines it was put since.
	ErrRetired = errors.New("the task type is retired")
	// ErrInUse: a task of the type waits for its time.
	ErrInUse = errors.New("tasks of the type wait for their time")
	// ErrBadEvent: one of the events can't be stored, and never will be. Who
	// wants to know which one halves the batch.
	ErrBadEvent = errors.New("an event cannot be stored")
	// ErrFeedPosition: the position is none of this store's feed.
	ErrFeedPosition = errors.New("it is no position of this feed")
	// ErrFeedTrimmed: events after the position are not kept any more.
	ErrFeedTrimmed = errors.New("the feed does not reach back so far")
)

// Bounds that hold in every engine.
const (
	// MaxEventBytes bounds the bodies of one answer of Events, in bytes.
	MaxEventBytes = 4 << 20
	// MaxEvents bounds the events of one answer of Events.
	MaxEvents = 1000
	// MaxPurge bounds the rows that one call of PurgeEnded, PurgeTombstones or
	// TrimFeed removes.
	MaxPurge = 500
)

// Store keeps tasks, their histories, who holds their runs, what waits for its
// time, what is cancelled, the catalogue, and what operators have set.
type Store interface {
	Scheduler
	Controls
	Keys
	Queues
	Retirer

	// Apply joins events into their tasks, in the order given and in one
	// transaction: all of them, durably, or none. For each event in turn:
	//
	//   - it is dropped when the task's history has an event of the same key, or
	//     when the task was purged at its run or a later one;
	//   - else [task.Task.Apply] joins it, and it enters the history under the
	//     number that it got there. A PROGRESS event has no place in the history.
	//
	// An event may create its task. A task that comes back after a purge, with a
	// higher run, goes on with the numbers that follow its old ones.
	//
	// The events that enter a history are the next ones of the feed, in their
	// order.
	//
	// It returns one change for each task that is not as it was, in the order in
	// which the events first name them. Errors: ErrUnavailable, ErrBadEvent, the context's.
	Apply(ctx context.Context, events []task.Event) ([]Change, error)

	// Task returns a task without the bodies of its payload, messages and
	// result. Errors: ErrNotFound, ErrUnavailable, the context's.
	Task(ctx context.Context, id string) (task.Task, error)

	// Tasks returns those of the tasks that there are, each as Task does: all as of one
	// moment, in the order in which they are first named, and once if named again. One
	// transaction reads them: ask for 1,000 at most. Errors: ErrUnavailable, the context's.
	Tasks(ctx context.Context, ids []string) ([]task.Task, error)

	// List returns a page of tasks by their ids, which are UUIDv7, descending: the
	// newest first. Whatever else happens to the store, a task that is there all the
	// time is on exactly one page. Errors: ErrUnavailable, the context's.
	List(ctx context.Context, q Query) (Page, error)

	// Feed returns the events that were stored after a place in the order in which
	// that was done, those of each task by their numbers: each once, whatever else
	// happens to the store. Events of purged tasks are passed over. Errors:
	// ErrFeedPosition, ErrFeedTrimmed, ErrUnavailable, the context's.
	Feed(ctx context.Context, q FeedQuery) (FeedPage, error)

	// FeedEnd is the place after the last event of the feed. Errors:
	// ErrUnavailable, the context's.
	FeedEnd(ctx context.Context) (FeedPosition, error)

	// TrimFeed forgets the oldest rows of the feed, of those that were stored
	// before a given time by the store's clock; the last row stays. Limit, result
	// and errors are as of PurgeEnded.
	TrimFeed(ctx context.Context, before time.Time, limit int) (int, error)

	// Body returns the payload, message or result that a QUEUED, MESSAGE or
	// SUCCEEDED event carries; it may be empty. ErrNotFound says that there is
	// no such task or event, that the event carries nothing, or that its payload
	// was omitted. Other errors: ErrUnavailable, the context's.
	Body(ctx context.Context, id string, number int64) ([]byte, error)

	// Event returns the event of a task that has this key, with its body; its head
	// is kept of UPDATED events only. Errors: ErrNotFound for an unknown task or event, ErrUnavailable,
	// the context's.
	Event(ctx context.Context, id string, key task.Key) (task.NumberedEvent, error)

	// Events returns a task's events with numbers above after, ascending and
	// without a gap: at most limit (bounded by MaxEvents) and, with bodies, at
	// most MaxEventBytes of these, but always one event if there is one. So an
	// answer shorter than limit is not the end; an empty one is.
	//
	// Without bodies, Message and Payload.Bytes are nil. Heads are kept of UPDATED
	// events only. Errors: ErrNotFound for an unknown task, ErrUnavailable, the
	// context's.
	Events(ctx context.Context, id string, after int64, limit int, bodies bool) ([]task.NumberedEvent, error)

	// History returns all events of a task but MESSAGE events, ascending and
	// without bodies: what [task.Records] needs. Errors: as of Events.
	History(ctx context.Context, id string) ([]task.NumberedEvent, error)

	// Start decides about starts, in the order given and in one transaction: each
	// by [task.DecideStart] on what is on record, with the claim that follows from
	// it recorded. Answers are as many and in the same order. Asking again changes
	// nothing, with the same RequestID. Of a task that was purged at this run or a
	// later one, every start is dropped; one with an id that is no UUID, which no
	// claim can be recorded for, is given up. Errors: ErrUnavailable, the context's.
	Start(ctx context.Context, requests []task.StartRequest) ([]task.StartAnswer, error)

	// ClaimRun lets a message hold a run of a task, unless another one does, by
	// [task.Holder], and says whether it holds it and whether the run has ended. A
	// run before one that is known has ended; one that was purged has too, and is
	// held by nobody, as is one with an id that is no UUID. Errors:
	// ErrUnavailable, the context's.
	ClaimRun(ctx context.Context, id string, run int, c task.Copy) (held, ended bool, err error)

	// PutOverride keeps an operator's override of a task type in place of the one
	// with the version o.Version - 1; version 1 is the first. ErrChanged says that
	// the one in force has another version; to put the very one in force again
	// does nothing. Each is kept for the record too. Other errors: ErrUnavailable,
	// the context's.
	PutOverride(ctx context.Context, o Override) error

	// Overrides returns the overrides in force, by task type. Errors:
	// ErrUnavailable, the context's.
	Overrides(ctx context.Context) ([]Override, error)

	// PurgeEnded forgets tasks whose latest run ended SUCCEEDED or CANCELLED
	// before a given time, with their histories, bodies and claims, the oldest
	// first: those of the task types that are meant. A DEAD_LETTERED task stays: it
	// has an open dead letter. What is left of a purged task is a tombstone that
	// has its highest run and number, and claims on runs above that.
	//
	// It removes at most limit rows (bounded by MaxPurge) in one transaction; a
	// task, each of its events and each body are one row, its claims go with the
	// task and do not count. A task that has more rows is gone at once for all
	// other calls, also when it comes back; the next calls of PurgeEnded, before
	// anything else and whatever its type, remove what is left of it.
	//
	// It returns how many rows were removed; fewer than the limit means that none
	// is left. Errors: ErrUnavailable, the context's.
	PurgeEnded(ctx context.Context, which Ended, limit int) (int, error)

	// PurgeTombstones forgets the tombstones of tasks that were purged before
	// the given time, by the store's clock; after that, a late event would revive
	// its task. One of which PurgeEnded has rows left to remove stays. It also
	// forgets claims that were last changed before that time and whose tasks are
	// not known. Each tombstone and each claim is one row; limit, result and errors
	// are as of PurgeEnded.
	PurgeTombstones(ctx context.Context, purgedBefore time.Time, limit int) (int, error)

	// PutBundle keeps a bundle for those of the names which it defines that no
	// bundle of a later time defines (of equal times, none of a greater digest);
	// bundles that are kept for no name any more are forgotten. A bundle counts by
	// the latest time that it was put with. So neither the order of calls nor
	// repeating them matters. It ends retirements of what the bundle defines. Errors:
	// ErrUnavailable, the context's.
	PutBundle(ctx context.Context, b BundleRecord) error

	// Bundles returns the bundles that are kept, ordered by time and digest.
	// Errors: ErrUnavailable, the context's.
	Bundles(ctx context.Context) ([]BundleRecord, error)

	// Check really writes a row and reads it back; nil means that the store
	// works. It answers within 3 s, whatever the context allows. Errors:
	// ErrUnavailable, the context's.
	Check(ctx context.Context) error

	// Close waits for calls under way and releases the store. Calls after it
	// fail with ErrUnavailable; a second Close does nothing.
	Close() error
}

// Change says what Apply did to one task: what those who watch it need to know.
type Change struct {
	// TaskID is in the canonical spelling.
	TaskID string
	// Version is the number of the task's last event now; 0 while it has had
	// progress only.
	Version int64
	// State is the task's now, Decided the key of the event that decided it.
	State   task.State
	Decided task.Key
	// Progress says that the task's progress is not what it was.
	Progress bool
	// Type is the task's.
	Type string
	// News is what the events tell that were not in the history yet.
	News News
}

// Ended selects tasks for PurgeEnded.
type Ended struct {
	// Before is the time before which they ended.
	Before time.Time
	// TaskType is theirs; empty is every one but those in Except.
	TaskType string
	// Except is not looked at when TaskType is set.
	Except []string
}

// Override is what an operator has set of a task type's options.
type Override struct {
	TaskType string
	// Version grows by one with each override of the type, from 1.
	Version int64
	// Options is an encoded warren.task.v1.TaskOptions, Paths are its fields that
	// the override is about. No paths: all is as declared.
	Options []byte
	Paths   []string
	// Reason is the operator's.
	Reason string
	Time   time.Time
}

// BundleRecord is a set of services with the files that describe them, as a
// worker announced it.
type BundleRecord struct {
	// Digest identifies the bundle: one digest, one set of files.
	Digest string
	// Services are the full names of the services that were announced, whether
	// accepted or not, sorted.
	Services []string
	// Defines are the names of the services and task types that it defines, each
	// name of one thing only; the store asks no more of them. In what Bundles
	// returns, they are those that the bundle is kept for, sorted.
	Defines []string
	// Files are encoded google.protobuf.FileDescriptorProtos in the order in
	// which they were put. Equal files of several bundles are stored once.
	Files [][]byte
	// Time is when the program was started that announced the bundle.
	Time time.Time
}
