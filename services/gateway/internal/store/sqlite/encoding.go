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

// encodeFailure returns a failure's column: NULL for none.
func encodeFailure(f *task.Failure) (any, error) {
	if f == nil {
		return nil, nil
	}
	j := failureJSON{Code: f.Code, Message: f.Message, Stack: f.Stack, Kind: int(f.Kind)}
	for _, d := range f.Details {
		j.Details = append(j.Details, detailJSON(d))
	}
	return marshal(j)
}

func decodeFailure(column sql.Null[string]) (*task.Failure, error) {
	if !column.Valid {
		return nil, nil
	}
	var j failureJSON
	if err := json.Unmarshal([]byte(column.V), &j); err != nil {
		return nil, fmt.Errorf("decode a failure: %w", err)
	}
	f := &task.Failure{Code: j.Code, Message: j.Message, Stack: j.Stack, Kind: task.FailureKind(j.Kind)}
	for _, d := range j.Details {
		f.Details = append(f.Details, task.Detail(d))
	}
	return f, nil
}

// metadataJSON is how an event's metadata is stored. Names stay; fields may be
// added. Values need not be text.
type metadataJSON struct {
	Headers  map[string][][]byte `json:"headers,omitempty"`
	Trailers map[string][][]byte `json:"trailers,omitempty"`
}

// encodeMetadata returns the column of an event's metadata: NULL for none.
func encodeMetadata(e *task.Event) (any, error) {
	if len(e.Headers) == 0 && len(e.Trailers) == 0 {
		return nil, nil
	}
	return marshal(metadataJSON{Headers: bytesOf(e.Headers), Trailers: bytesOf(e.Trailers)})
}

func decodeMetadata(column sql.Null[string], e *task.Event) error {
	if !column.Valid {
		return nil
	}
	var j metadataJSON
	if err := json.Unmarshal([]byte(column.V), &j); err != nil {
		return fmt.Errorf("decode metadata: %w", err)
	}
	e.Headers, e.Trailers = metadataOf(j.Headers), metadataOf(j.Trailers)
	return nil
}

func bytesOf(md task.Metadata) map[string][][]byte {
	if len(md) == 0 {
		return nil
	}
	out := make(map[string][][]byte, len(md))
	for key, values := range md {
		for _, v := range values {
			out[key] = append(out[key], []byte(v))
		}
	}
	return out
}

func metadataOf(columns map[string][][]byte) task.Metadata {
	if len(columns) == 0 {
		return nil
	}
	md := make(task.Metadata, len(columns))
	for key, values := range columns {
		for _, v := range values {
			md[key] = append(md[key], string(v))
		}
	}
	return md
}

// encodeLabels returns the labels' column: NULL for none.
func encodeLabels(labels map[string]string) (any, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	return marshal(labels)
}

func decodeLabels(column sql.Null[string]) (map[string]string, error) {
	if !column.Valid {
		return nil, nil
	}
	var labels map[string]string
	if err := json.Unmarshal([]byte(column.V), &labels); err != nil {
		return nil, fmt.Errorf("decode labels: %w", err)
	}
	return labels, nil
}

// encodePaths returns the paths' column: NULL for none.
func encodePaths(paths []string) (any, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	return marshal(paths)
}

func decodePaths(column sql.Null[string]) ([]string, error) {
	if !column.Valid {
		return nil, nil
	}
	var paths []string
	if err := json.Unmarshal([]byte(column.V), &paths); err != nil {
		return nil, fmt.Errorf("decode paths: %w", err)
	}
	return paths, nil
}

func marshal(v any) (any, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
