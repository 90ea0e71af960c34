package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestNotificationsAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createRule(t, newRule(func(r *deadletterv1.NotificationRule) { r.Trigger = onDeadLetter }))
	ids := w.put(t, arrival(1), arrival(2), arrival(3))
	list := func(filter, token string) *deadletterv1.ListNotificationsResponse {
		page, err := w.ListNotifications(t.Context(), &deadletterv1.ListNotificationsRequest{Filter: filter, PageSize: 2, PageToken: token})
		require.NoError(t, err)
		return page
	}
	first := list("", "")
	require.Len(t, first.Notifications, 2)
	n := first.Notifications[0]
	require.Equal(t, ids[2], n.DeadLetterId)
	require.Equal(t, "new-groups", n.RuleId)
	require.Equal(t, "chat", n.Channel)
	require.Equal(t, onDeadLetter, n.Trigger)
	require.Equal(t, deadletterv1.NotificationState_NOTIFICATION_STATE_WAITING, n.State)
	require.Equal(t, "dead letter: acme.v1.Images.Resize ATTEMPTS_EXHAUSTED UNAVAILABLE", n.Summary)
	require.NotNil(t, n.NextAttemptTime)
	second := list("", first.NextPageToken)
	require.Len(t, second.Notifications, 1)
	require.Empty(t, second.NextPageToken)
	require.Equal(t, ids[0], second.Notifications[0].DeadLetterId)
	require.Len(t, list(`dead_letter_id = "`+ids[1]+`"`, "").Notifications, 1)

	_, err := w.ListNotifications(t.Context(), &deadletterv1.ListNotificationsRequest{Filter: "state = SENT", PageToken: first.NextPageToken})
	requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	for _, bad := range []string{"colour = 1", `labels.x = "y"`, "state = NEVER"} {
		_, err = w.ListNotifications(t.Context(), &deadletterv1.ListNotificationsRequest{Filter: bad})
		requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	}
}

func TestChannelsAreListedAndTested(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	channels := func() []*deadletterv1.NotificationChannel {
		all, err := w.ListNotificationChannels(t.Context(), &deadletterv1.ListNotificationChannelsRequest{})
		require.NoError(t, err)
		return all.Channels
	}
	require.Len(t, channels(), 1)
	require.Equal(t, "generic", channels()[0].Kind)
	tested, err := w.TestNotification(t.Context(), &deadletterv1.TestNotificationRequest{Channel: "chat", Text: "hello"})
	require.NoError(t, err)
	require.False(t, tested.Sent)
	require.NotEmpty(t, tested.Error)
	require.NotContains(t, tested.Error, "hook")
	require.Positive(t, tested.Latency.AsDuration())
	require.Equal(t, tested.Error, channels()[0].LastError)
	require.WithinDuration(t, time.Now(), channels()[0].LastFailureTime.AsTime(), time.Hour)
	events, err := w.store.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Equal(t, store.ResourceChannel+"chat", events[0].Resource)
	_, err = w.TestNotification(t.Context(), &deadletterv1.TestNotificationRequest{Channel: "none"})
	requireReason(t, err, codes.NotFound, "NOTIFICATION_CHANNEL_NOT_FOUND")

	// One that was configured once, and is waited for.
	_, err = w.store.CreateRule(t.Context(), store.Rule{ID: "old", Trigger: store.TriggerDeadLetter, Channels: []string{"gone"}}, store.Call{})
	require.NoError(t, err)
	w.put(t, arrival(1))
	require.Len(t, channels(), 2)
	require.Empty(t, channels()[1].Kind)
	require.EqualValues(t, 1, channels()[1].Waiting)
}
