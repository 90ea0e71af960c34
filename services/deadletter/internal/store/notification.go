package store

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// Notifications are what somebody is told, or is to be.
//
// Put enqueues, for each rule that is not disabled and that an arrival matches, one
// notification for each of its channels: of TriggerDeadLetter when the arrival makes its
// dead letter OPEN or QUARANTINED, or finds it so; of TriggerNewGroup and
// TriggerRegressedGroup when it does that to its group; of TriggerQuarantine when the
// dead letter becomes QUARANTINED; and it counts for those of TriggerRate. A failure
// group that is muted is told of by none of these. Within the throttle of a rule the
// first of a group is due at its end, and those that follow are counted as held back by
// that one. All of it is in the transaction of the arrival.
type Notifications interface {
	Rules

	// DueNotifications returns notifications of a channel that are neither sent nor given
	// up, whose NextTime is not after now: the earliest first, at most limit (bounded by
	// MaxPage). Errors: ErrUnavailable, the context's.
	DueNotifications(ctx context.Context, channel string, now time.Time, limit int) ([]Notification, error)

	// NotificationSent ends a notification. It does nothing for one that has ended.
	// Errors: ErrNotFound, ErrUnavailable, the context's.
	NotificationSent(ctx context.Context, id string) error

	// NotificationFailed counts a failed attempt to send a notification and
	// says when the next is due, or that there will be none. It does nothing for
	// one that has ended. Errors: ErrNotFound, ErrUnavailable, the context's.
	NotificationFailed(ctx context.Context, id string, f NotificationFailure) error

	// NotificationTested notes and audits that a channel was tried, and what failed then;
	// empty for nothing. Errors: ErrUnavailable, the context's.
	NotificationTested(ctx context.Context, channel, problem string, by Call) error

	// NotificationLog returns notifications that match the filter (nil is all; its fields
	// are NotificationFields), the last one made first: those with a Sequence below before
	// (0 is all), at most limit (bounded by MaxPage). Errors: ErrUnavailable, the
	// context's.
	NotificationLog(ctx context.Context, f filter.Expr, before int64, limit int) ([]Notification, error)

	// ChannelStates says of each channel that something was sent to, or is to be, how that
	// goes; by their names. Errors: ErrUnavailable, the context's.
	ChannelStates(ctx context.Context) ([]ChannelState, error)

	// GiveUpNotifications gives up at most limit notifications that were made before a
	// time and go to none of the channels, and returns how many. Errors: ErrUnavailable,
	// the context's.
	GiveUpNotifications(ctx context.Context, channels []string, before time.Time, limit int) (int, error)

	// ForgetNotifications deletes at most limit notifications that have ended and were
	// made before a time, and at most as many notes of what rules told last before it. It
	// returns how many rows it has deleted. Errors: ErrUnavailable, the context's.
	ForgetNotifications(ctx context.Context, before time.Time, limit int) (int, error)
}

// NotificationState is how a notification stands. The numbers are those of
// warren.deadletter.v1.NotificationState; the zero value is none.
type NotificationState int

// The states of a notification.
const (
	// NotificationWaiting is to be sent, perhaps not for the first time.
	NotificationWaiting NotificationState = iota + 1
	// NotificationSent was taken.
	NotificationSent
	// NotificationGivenUp: nobody took it.
	NotificationGivenUp
)

var notificationStateNames = [...]string{"UNSPECIFIED", "WAITING", "SENT", "GIVEN_UP"}

// String is the state's name as the API spells it.
func (s NotificationState) String() string {
	if s < 0 || int(s) >= len(notificationStateNames) {
		return notificationStateNames[0]
	}
	return notificationStateNames[s]
}

// Notification is something that somebody is told.
type Notification struct {
	// Sequence is its place in the order in which they were made.
	Sequence int64
	// ID is a UUID, the same in each attempt to send it.
	ID    string
	State NotificationState
	// RuleID asked for it, Channel is where it goes.
	RuleID, Channel string
	Trigger         Trigger
	// DeadLetterID and Run say what died, Type, Cause and Code what of: of Code 0 is none.
	// They are unset if it is not about a dead letter, but for Type, which then says which
	// ones the rule is about: its types and codes, empty for all.
	DeadLetterID string
	Run          int
	Type         string
	Cause        task.Cause
	Code         int
	// GroupID is the failure group, if it is known.
	GroupID string
	// Measured is what a condition of a rule has found; unset if it is about a dead letter.
	Measured Measured
	// HeldBack is how many of the same the rule did not tell, and this one stands for.
	HeldBack int64
	// Time is when it was made, or when the throttle ends that has held it back, by the
	// store's clock.
	Time time.Time
	// Attempts is how often sending failed.
	Attempts int
	// NextTime is when it is due, unless it has ended.
	NextTime time.Time
	// LastError is that of the last failed attempt.
	LastError string
}

// NotificationFailure is a failed attempt to send a notification.
type NotificationFailure struct {
	// Error says what went wrong, for people, without secrets.
	Error string
	// NextTime is when to try again.
	NextTime time.Time
	// GiveUp: never try again.
	GiveUp bool
}

// ChannelState is how sending to a channel goes.
type ChannelState struct {
	Channel string
	// LastSuccess and LastFailure are when sending worked and failed last; zero is never.
	LastSuccess, LastFailure time.Time
	// LastError is what failed then.
	LastError string
	// Waiting is how many are to be sent, Oldest when the first of them was made.
	Waiting int64
	Oldest  time.Time
}

// The fields of filters of notifications.
const (
	FieldRuleID         filter.Field = "rule_id"
	FieldChannel        filter.Field = "channel"
	FieldTrigger        filter.Field = "trigger"
	FieldDeadLetterID   filter.Field = "dead_letter_id"
	FieldFailedAttempts filter.Field = "failed_attempts"
)

// NotificationFields is what filters of notifications may ask for.
var NotificationFields = filter.Schema{
	FieldState: filter.Names("NOTIFICATION_STATE_", map[string]int{
		NotificationWaiting.String(): int(NotificationWaiting), NotificationSent.String(): int(NotificationSent),
		NotificationGivenUp.String(): int(NotificationGivenUp),
	}),
	FieldRuleID: filter.Texts(), FieldChannel: filter.Texts(),
	FieldTrigger:      filter.Names("NOTIFICATION_TRIGGER_", triggerNumbers()),
	FieldDeadLetterID: filter.IDs(), FieldGroupID: filter.Texts(),
	FieldCreateTime: filter.Times(), FieldFailedAttempts: filter.Numbers(nil),
}

func triggerNumbers() map[string]int {
	numbers := map[string]int{}
	for t := TriggerDeadLetter; t <= TriggerQuarantine; t++ {
		numbers[t.String()] = int(t)
	}
	return numbers
}
