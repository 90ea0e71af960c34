package store

import "time"

// ChangeKind is what an arrival did. The zero value is nothing: its run had
// died already.
type ChangeKind int

// The kinds of changes.
const (
	// ChangeNone: the arrival was there already.
	ChangeNone ChangeKind = iota
	// ChangeCreated: there is a new dead letter.
	ChangeCreated
	// ChangeDiedAgain: the dead letter came in with a higher run, and is OPEN or
	// QUARANTINED.
	ChangeDiedAgain
	// ChangeHistory: the dead letter has an occurrence more, its state stays.
	ChangeHistory
)

// Change is what an arrival did.
type Change struct {
	// ID is in the canonical spelling.
	ID   string
	Kind ChangeKind
	// State is that of the dead letter now.
	State State
	// Run is the arrival's.
	Run int
	// GroupID is the group of the arrival's run; empty if that is not known yet, or the
	// arrival was there already.
	GroupID string
	// GroupCreated: it is the first of its group. GroupRegressed: it has made the group
	// REGRESSED, which was RESOLVED.
	GroupCreated, GroupRegressed bool
	// Notified: a notification was enqueued.
	Notified bool
	// ReplaysEnded is how many replays the arrival has ended.
	ReplaysEnded int
}

// Notification is a message about a dead letter that is to be sent.
type Notification struct {
	// ID is a UUID, the same in each attempt to send it.
	ID string
	// DeadLetterID and Run say what died; there is one notification for both.
	DeadLetterID string
	Run          int
	// Time is when it was enqueued, by the store's clock.
	Time time.Time
	// Attempts is how often sending failed.
	Attempts int
	// NextTime is when it is due.
	NextTime time.Time
	// LastError is that of the last failed attempt.
	LastError string
}

// NotificationFailure is a failed attempt to send a notification.
type NotificationFailure struct {
	// Error says what went wrong, for people.
	Error string
	// NextTime is when to try again.
	NextTime time.Time
	// GiveUp: never try again.
	GiveUp bool
}
