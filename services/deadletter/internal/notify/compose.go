package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// event is a notification for programs.
type event struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	// Data is about a dead letter, a condition or a test.
	Data any `json:"data"`
}

// The types of events by what they are about.
var eventTypes = map[store.Trigger]string{
	store.TriggerDeadLetter: "dead_letter.created", store.TriggerNewGroup: "failure_group.created",
	store.TriggerRegressedGroup: "failure_group.regressed", store.TriggerQuarantine: "dead_letter.quarantined",
	store.TriggerRate: "rule.rate", store.TriggerCount: "rule.count", store.TriggerOldestAge: "rule.oldest_age",
}

const testType = "test"

// data says what died. The task's payload, its labels and the failure's details
// are not for everybody, and never leave this way.
type data struct {
	DeadLetterID string    `json:"dead_letter_id"`
	TaskID       string    `json:"task_id,omitempty"`
	TaskType     string    `json:"type"`
	Cause        string    `json:"cause"`
	Code         string    `json:"code,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	Message      string    `json:"message,omitempty"`
	Decision     string    `json:"decision,omitempty"`
	Run          int       `json:"run"`
	Attempt      int       `json:"attempt"`
	WorkerID     string    `json:"worker_id,omitempty"`
	Queue        string    `json:"queue,omitempty"`
	TraceID      string    `json:"trace_id,omitempty"`
	DeadTime     time.Time `json:"dead_time"`
	GroupID      string    `json:"group_id,omitempty"`
	RuleID       string    `json:"rule_id,omitempty"`
	HeldBack     int64     `json:"held_back,omitempty"`
}

// conditionData says what a condition has found: a count or an age, and what that was
// compared with.
type conditionData struct {
	RuleID        string  `json:"rule_id"`
	Scope         string  `json:"scope,omitempty"`
	Count         int64   `json:"count,omitempty"`
	Threshold     int64   `json:"threshold,omitempty"`
	AgeSeconds    float64 `json:"age_seconds,omitempty"`
	WindowSeconds float64 `json:"window_seconds,omitempty"`
	HeldBack      int64   `json:"held_back,omitempty"`
}

type testData struct {
	Text string `json:"text"`
}

// Bounds of texts in a notification, in bytes.
const (
	maxMessage = 1 << 10
	maxShown   = 300
)

// compose says the same in each attempt to send a notification.
func (n *Notifier) compose(ctx context.Context, x *store.Notification) (*message, error) {
	m := &message{id: x.ID, title: "[Warren] " + plainText(Summary(x))}
	m.event = event{Type: eventTypes[x.Trigger], Timestamp: x.Time}
	if x.Trigger.IsCondition() {
		m.event.Data, m.text = conditionOf(x), textOfCondition(x)
		return m, nil
	}
	d, err := n.died(ctx, x)
	if err != nil {
		return nil, err
	}
	m.event.Data, m.text = d, textOf(x, &d)
	return m, nil
}

func conditionOf(x *store.Notification) conditionData {
	return conditionData{
		RuleID: x.RuleID, Scope: x.Type, Count: x.Measured.Count, Threshold: x.Measured.Threshold, HeldBack: x.HeldBack,
		AgeSeconds: x.Measured.Age.Seconds(), WindowSeconds: x.Measured.Window.Seconds(),
	}
}

// died is what there is to say of a run that died. Of one that was purged since, that is
// what the notification has.
func (n *Notifier) died(ctx context.Context, x *store.Notification) (data, error) {
	told := data{
		DeadLetterID: x.DeadLetterID, TaskType: x.Type, Cause: x.Cause.String(), Code: codeName(x.Code), Run: x.Run,
		DeadTime: x.Time, GroupID: x.GroupID, HeldBack: x.HeldBack,
	}
	if x.RuleID != store.BuiltInRule {
		told.RuleID = x.RuleID
	}
	d, err := n.store.Get(ctx, x.DeadLetterID, false)
	if errors.Is(err, store.ErrNotFound) {
		return told, nil
	}
	if err != nil {
		return told, fmt.Errorf("read a dead letter to tell of it: %w", err)
	}
	told.TaskID, told.Queue = d.TaskID(), d.Queue
	o := &store.Occurrence{
		Run: d.Run, Attempt: d.Attempt, Cause: d.Cause, Failure: d.Failure, Reason: d.Reason, Decision: d.Decision,
		DeadTime: d.DeadTime, WorkerID: d.WorkerID, TraceID: d.TraceID,
	}
	if d.Run != x.Run {
		if o, err = n.occurrence(ctx, x); err != nil || o == nil {
			return told, err
		}
	}
	told.Cause, told.Reason, told.Decision, told.Attempt = o.Cause.String(), o.Reason, cut(o.Decision), o.Attempt
	told.WorkerID, told.TraceID, told.DeadTime = o.WorkerID, o.TraceID, o.DeadTime
	if f := o.Failure; f != nil {
		told.Code, told.Message = code.Code(f.Code).String(), cut(f.Message)
	}
	return told, nil
}

// occurrence is a run that has died before the last one; nil if it is not kept any more.
func (n *Notifier) occurrence(ctx context.Context, x *store.Notification) (*store.Occurrence, error) {
	d, err := n.store.Get(ctx, x.DeadLetterID, true)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read a dead letter to tell of it: %w", err)
	}
	for i := range d.Occurrences {
		if d.Occurrences[i].Run == x.Run {
			return &d.Occurrences[i], nil
		}
	}
	return nil, nil //nolint:nilnil // it was purged, which is no error
}

// Summary says what a notification is about, in one line.
func Summary(x *store.Notification) string {
	var b strings.Builder
	m := &x.Measured
	switch x.Trigger {
	case store.TriggerRate:
		fmt.Fprintf(&b, "dead letters%s within %s: %d, more than %d (rule %s)", scope(x), m.Window, m.Count, m.Threshold, x.RuleID)
	case store.TriggerCount:
		fmt.Fprintf(&b, "OPEN dead letters%s: %d, more than %d (rule %s)", scope(x), m.Count, m.Threshold, x.RuleID)
	case store.TriggerOldestAge:
		fmt.Fprintf(&b, "the oldest OPEN dead letter%s has waited for %s, longer than %s (rule %s)", scope(x), m.Age.Round(time.Second), m.Window, x.RuleID)
	default:
		what := map[store.Trigger]string{
			store.TriggerDeadLetter: "dead letter", store.TriggerNewGroup: "new failure group",
			store.TriggerRegressedGroup: "failure group that was resolved fails again", store.TriggerQuarantine: "dead letter quarantined",
		}[x.Trigger]
		fmt.Fprintf(&b, "%s: %s %s", what, x.Type, x.Cause)
		if x.Code != 0 {
			fmt.Fprintf(&b, " %s", codeName(x.Code))
		}
	}
	if x.HeldBack > 0 {
		fmt.Fprintf(&b, "; %d more of the same", x.HeldBack)
	}
	return b.String()
}

// scope says which dead letters a condition is about.
func scope(x *store.Notification) string {
	if x.Type == "" {
		return ""
	}
	return " of " + cutAt(x.Type, maxShown)
}

// textOf is for people. The failure's message has placeholders in the place of what may
// be somebody's own.
func textOf(x *store.Notification, d *data) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, cutAt(plainText(value), maxShown))
		}
	}
	line("Task type", d.TaskType)
	line("Cause", d.Cause)
	line("Code", d.Code)
	line("Message", fingerprint.Normalize(d.Message))
	line("Dead letter", d.DeadLetterID)
	line("Failure group", d.GroupID)
	line("Rule", x.RuleID)
	if x.HeldBack > 0 {
		line("Not told one by one", fmt.Sprintf("%d more of the same", x.HeldBack))
	}
	b.WriteString("\n")
	isGroup := x.Trigger == store.TriggerNewGroup || x.Trigger == store.TriggerRegressedGroup
	if isGroup && d.GroupID != "" {
		b.WriteString(look(fmt.Sprintf(`{"group_id": "%s"}`, d.GroupID), "GetFailureGroup"))
	} else {
		b.WriteString(look(fmt.Sprintf(`{"dead_letter_id": "%s"}`, d.DeadLetterID), "GetDeadLetter"))
	}
	return b.String()
}

func textOfCondition(x *store.Notification) string {
	order := ""
	if x.Trigger == store.TriggerRate {
		order = fmt.Sprintf(` AND update_time > \"%s\"`, x.Time.Add(-x.Measured.Window).Truncate(time.Second).Format(time.RFC3339))
	}
	return fmt.Sprintf("%s.\n\n%s", plainText(Summary(x)), look(fmt.Sprintf(`{"filter": "state = OPEN%s"}`, order), "ListDeadLetters"))
}

// look is a command to look at it.
func look(request, method string) string {
	return fmt.Sprintf("grpcurl -plaintext -d '%s' DEADLETTER:7071 warren.deadletter.v1.DeadLetterService/%s", request, method)
}

func testMessage(text string, now time.Time) *message {
	if text == "" {
		text = "This is a test: Warren's dead-letter service can reach this channel."
	}
	return &message{
		id: uuid.NewString(), title: "[Warren] test", text: plainText(text),
		event: event{Type: testType, Timestamp: now.UTC(), Data: testData{text}},
	}
}

// codeName is the name of a google.rpc.Code, empty for none.
func codeName(c int) string {
	if c == 0 {
		return ""
	}
	return code.Code(c).String()
}

// plainText is a text of one line that wakes nobody up: chats take @NAME and <!NAME> for
// people to call.
func plainText(s string) string {
	s = oneLine(s)
	return strings.NewReplacer("@", "@\u200b", "<!", "<\u200b!").Replace(s)
}

func cut(s string) string { return cutAt(s, maxMessage) }

func cutAt(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
