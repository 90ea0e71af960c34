package store

import (
	"context"
	"time"
)

// AuditRetention is how long audit events are kept, and replays after their end.
const AuditRetention = 365 * 24 * time.Hour

// MaxExpired bounds the dead letters that one call of Expire looks at and changes.
const MaxExpired = 500

// Retention ends what was kept for long enough.
type Retention interface {
	// Expire purges dead letters whose retention has ended by the policy of their type,
	// and forgets tombstones whose retention has: at most MaxExpired, in one
	// transaction. What is on hold stays. The zero value of from begins a round; go on
	// with the one that is returned, until that is zero. Errors: ErrUnavailable, the
	// context's.
	Expire(ctx context.Context, from ExpirePlace) (expired []Expired, next ExpirePlace, err error)

	// Forget deletes audit events and replays older than AuditRetention and selections
	// that have expired, at most MaxExpired of each and of the replays' items, and says
	// how many audit events. Errors: ErrUnavailable, the context's.
	Forget(ctx context.Context) (events int, err error)

	// CountResidence counts the dead letters that have waited for longer than their
	// type's objective, by type and residence: ResidenceWarn and ResidenceBreach. Errors:
	// ErrUnavailable, the context's.
	CountResidence(ctx context.Context) ([]ResidenceCount, error)
}

// ExpirePlace is how far a round of Expire has come: to the dead letters of a state
// whose type is the one given, or a later one.
type ExpirePlace struct {
	State State
	Type  string
}

// Expired is a dead letter whose retention has ended.
type Expired struct {
	ID   string
	Type string
	// State is the one whose retention has ended: of StatePurged nothing is left,
	// others are PURGED.
	State State
}

// ResidenceCount is how many dead letters of a type have a residence.
type ResidenceCount struct {
	Type      string
	Residence Residence
	Count     int64
}
