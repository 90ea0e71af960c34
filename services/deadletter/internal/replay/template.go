package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// template is what a replay takes from the message that died, besides what the
// dead letter itself has: its body, type and labels. Nothing else of the message
// is ever published again: no `x-` header, no CC, no expiration.
type template struct {
	Priority   int                 `json:",omitempty"`
	CreateTime time.Time           `json:",omitzero"`
	Metadata   map[string][][]byte `json:",omitempty"`
	// Trace is the context of the run that died, to which the next one is linked.
	Trace   map[string]string `json:",omitempty"`
	Timeout *time.Duration    `json:",omitempty"`
	// Retry is an encoded warren.task.v1.RetryPolicy.
	Retry      []byte `json:",omitempty"`
	ScheduleID string `json:",omitempty"`
	// ExpireTime is when the run expired. Templates of earlier versions have none.
	ExpireTime time.Time `json:",omitzero"`
}

// EncodeTemplate is the template for replays of a task.
func EncodeTemplate(m *broker.TaskMessage) []byte {
	t := template{Priority: m.Priority, CreateTime: m.CreateTime, Metadata: m.Metadata, Trace: m.Trace, ScheduleID: m.ScheduleID, ExpireTime: m.ExpireTime}
	if m.Timeout != nil {
		d := m.Timeout.AsDuration()
		t.Timeout = &d
	}
	var err error
	if m.Retry != nil {
		// A message that was decoded can be encoded.
		t.Retry, err = proto.Marshal(m.Retry)
	}
	b, jsonErr := json.Marshal(t)
	if errors.Join(err, jsonErr) != nil {
		return nil
	}
	return b
}

// decodeTemplate is the template of the run that died last. When the task expires and how
// often it is tried are those of the first one: later ones have what a replay's plan said.
func decodeTemplate(d *store.DeadLetter) (t template, err error) {
	if err := json.Unmarshal(d.Template, &t); err != nil {
		return t, fmt.Errorf("decode the template of dead letter %s: %w", d.ID, err)
	}
	if d.FirstTemplate == nil {
		return t, nil
	}
	var first template
	if err := json.Unmarshal(d.FirstTemplate, &first); err != nil {
		return t, fmt.Errorf("decode the first template of dead letter %s: %w", d.ID, err)
	}
	t.ExpireTime, t.Retry = first.ExpireTime, first.Retry
	return t, nil
}

// rebuild makes the message of the next run of a dead letter's task, without
// its copy and trace.
func rebuild(d *store.DeadLetter, run int, now time.Time) (*broker.TaskMessage, map[string]string, error) {
	t, err := decodeTemplate(d)
	if err != nil {
		return nil, nil, err
	}
	m := &broker.TaskMessage{
		ID: d.ID, Type: d.Type, Payload: d.Message.Body, Run: run, Labels: d.Labels, Metadata: t.Metadata,
		Priority: t.Priority, CreateTime: t.CreateTime, RunTime: now, ScheduleID: t.ScheduleID,
	}
	if m.Priority < 1 || m.Priority > 9 {
		m.Priority = task.PriorityNormal
	}
	if m.CreateTime.IsZero() {
		m.CreateTime = d.FirstDeadTime
	}
	if t.Timeout != nil {
		m.Timeout = durationpb.New(*t.Timeout)
	}
	if t.Retry != nil {
		m.Retry = &taskv1.RetryPolicy{}
		if err := proto.Unmarshal(t.Retry, m.Retry); err != nil {
			return nil, nil, fmt.Errorf("decode the retry policy of dead letter %s: %w", d.ID, err)
		}
	}
	return m, t.Trace, nil
}

// expiry is when a task expires that is replayed now: zero is never.
func (t *template) expiry(mode store.Expiry, now time.Time) time.Time {
	switch {
	case t.ExpireTime.IsZero():
		return time.Time{}
	case mode == store.ExpiryKept:
		return t.ExpireTime
	case mode == store.ExpiryRenewed && t.ExpireTime.After(t.CreateTime):
		return now.Add(t.ExpireTime.Sub(t.CreateTime))
	}
	return time.Time{}
}

// apply has a message follow the plan that was frozen with its intent.
func apply(m *broker.TaskMessage, i *store.Intent) {
	m.ExpireTime = i.ExpireTime
	if i.MaxAttempts > 0 {
		retry := &taskv1.RetryPolicy{}
		if m.Retry != nil {
			retry = proto.CloneOf(m.Retry)
		}
		retry.MaxAttempts = int32(i.MaxAttempts)
		m.Retry = retry
	}
}
