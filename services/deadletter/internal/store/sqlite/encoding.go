package sqlite

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// micros is a time's column: NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func fromMicros(n sql.Null[int64]) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.V).UTC()
}

// blob is the column of bytes: NULL for none.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// encode returns a value's column as JSON: NULL if its size is 0.
func encode(v any, size int) (any, error) {
	if size == 0 {
		return nil, nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

func decode[T any](column sql.Null[string]) (T, error) {
	var v T
	if !column.Valid {
		return v, nil
	}
	if err := json.Unmarshal([]byte(column.V), &v); err != nil {
		return v, fmt.Errorf("decode a column of type %T: %w", v, err)
	}
	return v, nil
}

// failureJSON is how a failure is stored. Names stay; fields may be added.
type failureJSON struct {
	Code    int          `json:"code"`
	Message string       `json:"message,omitempty"`
	Details []detailJSON `json:"details,omitempty"`
	Stack   string       `json:"stack,omitempty"`
	Kind    int          `json:"kind,omitempty"`
}

type detailJSON struct {
	TypeURL string `json:"type_url"`
	Value   []byte `json:"value,omitempty"`
}

func failureToJSON(f *task.Failure) *failureJSON {
	if f == nil {
		return nil
	}
	j := &failureJSON{Code: f.Code, Message: f.Message, Stack: f.Stack, Kind: int(f.Kind)}
	for _, d := range f.Details {
		j.Details = append(j.Details, detailJSON(d))
	}
	return j
}

func (j *failureJSON) failure() *task.Failure {
	if j == nil {
		return nil
	}
	f := &task.Failure{Code: j.Code, Message: j.Message, Stack: j.Stack, Kind: task.FailureKind(j.Kind)}
	for _, d := range j.Details {
		f.Details = append(f.Details, task.Detail(d))
	}
	return f
}

// encodeFailure returns a failure's column: NULL for none.
func encodeFailure(f *task.Failure) (any, error) {
	if f == nil {
		return nil, nil
	}
	return encode(failureToJSON(f), 1)
}

func decodeFailure(column sql.Null[string]) (*task.Failure, error) {
	j, err := decode[*failureJSON](column)
	return j.failure(), err
}

// attemptJSON is how an attempt is stored. Names stay; fields may be added.
// Times are microseconds since 1970.
type attemptJSON struct {
	Run             int          `json:"run"`
	Attempt         int          `json:"attempt"`
	Delivery        int64        `json:"delivery"`
	Phase           int          `json:"phase,omitempty"`
	Sequence        int64        `json:"sequence,omitempty"`
	Copy            []byte       `json:"copy,omitempty"`
	WorkerID        string       `json:"worker_id,omitempty"`
	Host            string       `json:"host,omitempty"`
	Version         string       `json:"version,omitempty"`
	Redelivered     bool         `json:"redelivered,omitempty"`
	Alone           bool         `json:"alone,omitempty"`
	StartTime       *int64       `json:"start_time,omitempty"`
	EndTime         *int64       `json:"end_time,omitempty"`
	Outcome         int          `json:"outcome,omitempty"`
	Failure         *failureJSON `json:"failure,omitempty"`
	Decision        string       `json:"decision,omitempty"`
	NextAttemptTime *int64       `json:"next_attempt_time,omitempty"`
	Extra           bool         `json:"extra,omitempty"`
	TraceID         []byte       `json:"trace_id,omitempty"`
	SpanID          []byte       `json:"span_id,omitempty"`
}

// encodeAttempts returns the attempts' column: NULL for none.
func encodeAttempts(records []task.Record) (any, error) {
	attempts := make([]attemptJSON, len(records))
	for i := range records {
		r := &records[i]
		attempts[i] = attemptJSON{
			Run: r.Key.Run, Attempt: r.Key.Attempt, Delivery: r.Key.Delivery, Phase: int(r.Key.Phase), Sequence: r.Key.Sequence,
			WorkerID: r.WorkerID, Host: r.Host, Version: r.Version, Redelivered: r.Redelivered, Alone: r.Alone,
			StartTime: optional(r.StartTime), EndTime: optional(r.EndTime), Outcome: int(r.Outcome), Failure: failureToJSON(r.Failure),
			Decision: r.Decision, NextAttemptTime: optional(r.NextAttemptTime), Extra: r.Extra,
		}
		attempts[i].TraceID, attempts[i].SpanID = r.Span.Bytes()
		if r.Key.Copy != (task.Copy{}) {
			attempts[i].Copy = r.Key.Copy[:]
		}
	}
	return encode(attempts, len(attempts))
}

func decodeAttempts(column sql.Null[string]) ([]task.Record, error) {
	attempts, err := decode[[]attemptJSON](column)
	if err != nil {
		return nil, err
	}
	var records []task.Record
	for _, a := range attempts {
		r := task.Record{
			Key:      task.Key{Run: a.Run, Attempt: a.Attempt, Delivery: a.Delivery, Phase: task.Phase(a.Phase), Sequence: a.Sequence},
			WorkerID: a.WorkerID, StartTime: required(a.StartTime), EndTime: required(a.EndTime), Outcome: task.Outcome(a.Outcome), Failure: a.Failure.failure(),
			Execution: task.Execution{
				Host: a.Host, Version: a.Version, Redelivered: a.Redelivered, Alone: a.Alone, Span: task.SpanOf(a.TraceID, a.SpanID),
			},
			Decision: a.Decision, NextAttemptTime: required(a.NextAttemptTime), Extra: a.Extra,
		}
		copy(r.Key.Copy[:], a.Copy)
		records = append(records, r)
	}
	return records, nil
}

func optional(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

func required(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.UnixMicro(*n).UTC()
}
