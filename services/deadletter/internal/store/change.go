package store

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
