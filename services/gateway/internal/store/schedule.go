package store

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// Scheduler keeps tasks that wait for their time, and the schedules that make
// them. Errors of all methods besides those named: ErrUnavailable, the context's.
type Scheduler interface {
	// Schedule keeps tasks for later, all in one transaction: the SCHEDULED event of
	// each is applied as by Apply, and its message kept until Unschedule. Of a task
	// that is known already nothing is done. Due at Event.ScheduleTime. Errors:
	// ErrBadEvent; ErrRetired if the type of one that is new is retired.
	Schedule(ctx context.Context, tasks []Scheduled) ([]Change, error)

	// TakeDue returns tasks whose time has come by now, the earliest first, at most
	// limit and at most MaxDueBytes of messages, but one at least, and leases them:
	// until now + lease no other call returns them. Of the task types in most there are
	// at most so many. A lease that ends later than now + 2 lease counts for nothing:
	// the clock was set back. next is when to call again: the earliest time of what is
	// left besides what most leaves out, or at which a lease ends, if it is not of a type
	// of which most has 0; zero for nothing.
	TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) (due []Due, next time.Time, err error)

	// Unschedule forgets the messages of tasks: they are in their queues. Those that
	// are not kept are passed over.
	Unschedule(ctx context.Context, ids []string) error

	// ScheduledMessage returns the message of a task that waits for its time.
	// Errors: ErrNotFound.
	ScheduledMessage(ctx context.Context, id string) ([]byte, error)

	// Update applies an UPDATED event to a task if that has the given version. With a
	// message it is for a task that waits for its time: the message replaces the one
	// kept, and it is due at the event's ScheduleTime. Errors: ErrNotFound; ErrChanged
	// if the version is another one, or, with a message, if none is kept or it was
	// ever leased: it may have been published; ErrBadEvent.
	Update(ctx context.Context, version int64, e task.Event, message []byte) (Change, error)

	// CountScheduled counts the tasks of a type that wait for their time; of all
	// types if it is empty.
	CountScheduled(ctx context.Context, taskType string) (int64, error)

	// PutSchedule keeps a schedule in place of the one with the version s.Version - 1;
	// version 1 is the first. ErrChanged says that the one that is kept has another
	// version, or that there is none. With s.KeepNext the schedule fires next when the
	// one that is kept would have, whatever s.Next is; the first version has s.Next.
	PutSchedule(ctx context.Context, s Schedule) error

	// GetSchedule returns a schedule with its last firings. Errors: ErrNotFound.
	GetSchedule(ctx context.Context, id string) (Schedule, error)

	// ListSchedules returns schedules with their last firings by id, those after
	// one, at most limit.
	ListSchedules(ctx context.Context, after string, limit int) ([]Schedule, error)

	// DeleteSchedule forgets a schedule that has the given version; 0 is any.
	// Errors: ErrNotFound, ErrChanged.
	DeleteSchedule(ctx context.Context, id string, version int64) error

	// DueSchedules returns the schedules whose Next is not after now, the earliest
	// first, at most limit; next is the earliest Next of the others, zero for none.
	DueSchedules(ctx context.Context, now time.Time, limit int) (due []Schedule, next time.Time, err error)

	// Unended returns the newest, by its id, of the tasks that a schedule of this id has
	// submitted, when and however, and that have not ended. Errors: ErrNotFound if
	// there is none.
	Unended(ctx context.Context, scheduleID string) (taskID string, err error)

	// Fire records a firing of a schedule, all in one transaction: its Next becomes
	// f.Next, the firing one of its last, and the task is kept for later as by
	// Schedule. ErrChanged says that the schedule has another version or Next than
	// f says, or is gone: nothing was done. No changes with f.OnlyNew say that the task
	// is known already, and that nothing was done. Errors: ErrBadEvent; ErrRetired as
	// of Schedule.
	Fire(ctx context.Context, f Fire) ([]Change, error)
}

// Bounds of every engine.
const (
	// MaxFirings is how many firings of a schedule are kept.
	MaxFirings = 20
	// MaxDueBytes bounds the messages of one answer of TakeDue, in bytes.
	MaxDueBytes = 16 << 20
)

// Scheduled is a task that waits for its time.
type Scheduled struct {
	// Event is its SCHEDULED event.
	Event task.Event
	// Message is what is published then, as broker.EncodeTask has it.
	Message []byte
}

// Due is a task whose time has come.
type Due struct {
	TaskID string
	// Type is that of its SCHEDULED event.
	Type    string
	Message []byte
	// Again says that it was leased before, so that it may have been published.
	Again bool
}

// Schedule submits tasks again and again.
type Schedule struct {
	ID string
	// Version grows by one with each PutSchedule, from 1.
	Version int64
	// Spec is an encoded warren.admin.v1.Schedule.
	Spec []byte
	// Next is when it fires next, zero for never: paused or over.
	Next time.Time
	// KeepNext is for PutSchedule alone.
	KeepNext bool
	// Firings are the last ones, the newest first, at most MaxFirings. PutSchedule
	// does not look at them.
	Firings []Firing
}

// Firing is one firing of a schedule: an encoded warren.admin.v1.Firing.
type Firing struct {
	Time    time.Time
	Encoded []byte
}

// Fire is a firing that is to be recorded.
type Fire struct {
	ScheduleID string
	// Version and Was are the schedule's version and Next as they were read. A
	// trigger leaves Next as it is.
	Version   int64
	Was, Next time.Time
	Firing    Firing
	// Task is nil if none is submitted.
	Task *Scheduled
	// OnlyNew has nothing done if the task is known already, though it was purged since.
	OnlyNew bool
}
