package store

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
)

// MaxAudit bounds the things in one answer of Audit.
const MaxAudit = 1000

// Audits is what was done, and by whom.
type Audits interface {
	// Audit returns what was done to a dead letter, the oldest first: the last MaxAudit
	// things. Errors: ErrNotFound, ErrUnavailable, the context's.
	Audit(ctx context.Context, id string) ([]AuditEntry, error)

	// AuditEvents returns the calls that have changed something and match the filter
	// (nil is all; its fields are AuditFields), the last one first: those with a
	// Sequence below before (0 is all), at most limit (bounded by MaxPage). Errors:
	// ErrUnavailable, the context's.
	AuditEvents(ctx context.Context, f filter.Expr, before int64, limit int) ([]AuditEvent, error)
}

// AuditEvent is a call that has changed something.
type AuditEvent struct {
	// Sequence grows with time.
	Sequence int64
	// Time is when, by the store's clock.
	Time time.Time
	// By is who asked for it; of its Trace only the trace id is kept.
	By Call
	// TraceID is that of the call in hexadecimal, or empty.
	TraceID string
	// Resource is what was changed, e.g. `deadLetters/0190…`.
	Resource string
	// Changes are the values that changed.
	Changes []AuditChange
}

// AuditChange is a value that changed; empty is none.
type AuditChange struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// The kinds of resources in [AuditEvent.Resource], each followed by an id.
const (
	ResourceDeadLetter = "deadLetters/"
	ResourceReplay     = "replays/"
	ResourceGroup      = "failureGroups/"
	ResourceSelection  = "selections/"
	ResourcePolicy     = "policies/"
	ResourceRule       = "notificationRules/"
	ResourceChannel    = "notificationChannels/"
)

// The fields of filters of audit events.
const (
	FieldTime     filter.Field = "time"
	FieldMethod   filter.Field = "method"
	FieldActor    filter.Field = "actor"
	FieldPeer     filter.Field = "peer"
	FieldResource filter.Field = "resource"
)

// AuditFields is what filters of audit events may ask for.
var AuditFields = filter.Schema{
	FieldTime: filter.Times(), FieldMethod: filter.Texts(), FieldActor: filter.Texts(), FieldPeer: filter.Texts(),
	FieldReason: filter.Texts(), FieldResource: filter.Texts(), FieldTraceID: filter.Texts(),
}
