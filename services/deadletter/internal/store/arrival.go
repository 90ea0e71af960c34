package store

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Arrival is a message that died. An engine keeps what [Arrival.Normalize]
// leaves of it.
type Arrival struct {
	// ID is the task's. A message that is no task has a UUIDv7 that the caller
	// made for it.
	ID string
	// Foreign: it is no task, and can't be replayed.
	Foreign bool
	// Type is the task type; of a message that is no task, its routing key, which
	// may be empty.
	Type string
	// Occurrence is the run that died.
	Occurrence Occurrence
	// Labels are the submitter's.
	Labels map[string]string
	// Priority is the one that was asked for, from 1 to 9; 0 if unknown.
	Priority int
	// CreateTime is when the task was accepted; zero if unknown.
	CreateTime time.Time
	// RunTime is when the run was begun; zero if unknown.
	RunTime time.Time
	// Message is the message as it arrived.
	Message Message
	// Template is what a replay needs besides body, type and labels, in an
	// encoding of the caller's.
	Template []byte
	// Fingerprint says which failure group the run belongs to.
	Fingerprint Fingerprint
	// Notify asks for a notification.
	Notify bool
}

// Validate says what makes an arrival impossible to store.
func (a *Arrival) Validate() error {
	if _, err := uuid.Parse(a.ID); err != nil {
		return fmt.Errorf("id %q is not a UUID", a.ID)
	}
	o := &a.Occurrence
	if a.Type == "" && !a.Foreign {
		return fmt.Errorf("no task type")
	}
	least := 1
	if a.Foreign {
		least = 0
	}
	if o.Run < least || o.Run > math.MaxInt32 || o.Attempt < 0 || o.Attempt > math.MaxInt32 || o.AttemptsOmitted < 0 {
		return fmt.Errorf("run %d, attempt %d, %d attempts omitted are out of range", o.Run, o.Attempt, o.AttemptsOmitted)
	}
	if o.Cause <= 0 {
		return fmt.Errorf("no cause")
	}
	if f := &a.Fingerprint; (f.GroupID == "") != (f.Version == 0) || f.Version < 0 {
		return fmt.Errorf("group %q of fingerprint version %d", f.GroupID, f.Version)
	}
	return nil
}

// Normalize returns a valid arrival in the shape in which it is kept: the id in
// the canonical spelling; texts as UTF-8 without NUL, U+FFFD standing for what is
// not; times to the microsecond and in UTC, those that no timestamp of protobuf
// can be as zero; now in the place of an unset DeadTime; nil for what is empty.
// What the arrival points to is not changed.
func (a Arrival) Normalize(now time.Time) Arrival {
	a.ID = uuid.MustParse(a.ID).String()
	a.Type = cleanText(a.Type)
	a.Labels = cleanMap(a.Labels)
	a.CreateTime, a.RunTime = cleanTime(a.CreateTime), cleanTime(a.RunTime)
	a.Occurrence, a.Fingerprint = a.Occurrence.normalize(now), a.Fingerprint.Normalize()
	m := &a.Message
	m.Properties, m.Headers = cleanMap(m.Properties), cleanMap(m.Headers)
	m.Queue, m.Exchange = cleanText(m.Queue), cleanText(m.Exchange)
	m.RoutingKeys = slices.Clone(m.RoutingKeys)
	for i, key := range m.RoutingKeys {
		m.RoutingKeys[i] = cleanText(key)
	}
	m.RoutingKeys, m.Body, a.Template = orNil(m.RoutingKeys), orNil(m.Body), orNil(a.Template)
	return a
}

func orNil[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	return s
}

func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func cleanMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	clean := make(map[string]string, len(m))
	// Keys that become the same one: the last in their order stays.
	for _, k := range slices.Sorted(maps.Keys(m)) {
		clean[cleanText(k)] = cleanText(m[k])
	}
	return clean
}

// cleanTime cuts a time to what a column and a protobuf timestamp can hold.
func cleanTime(t time.Time) time.Time {
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.Truncate(time.Microsecond).UTC()
}
