package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Notifier knows where people and programs are told.
type Notifier interface {
	// Channels are those that are configured.
	Channels() []*notify.Channel
	// Test tells a channel something, once; the problem is why it was not taken.
	Test(ctx context.Context, channel, text string, by store.Call) (problem string, took time.Duration, err error)
}

// ListNotificationChannels implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListNotificationChannels(
	ctx context.Context, _ *deadletterv1.ListNotificationChannelsRequest,
) (*deadletterv1.ListNotificationChannelsResponse, error) {
	states, err := s.cfg.Store.ChannelStates(ctx)
	if err != nil {
		return nil, answer(err)
	}
	known := map[string]store.ChannelState{}
	for _, c := range states {
		known[c.Channel] = c
	}
	out := &deadletterv1.ListNotificationChannelsResponse{}
	for _, c := range s.cfg.Notifier.Channels() {
		out.Channels = append(out.Channels, channelToProto(c.Name(), c.Kind(), known[c.Name()]))
		delete(known, c.Name())
	}
	for name, c := range known {
		if c.Waiting > 0 {
			out.Channels = append(out.Channels, channelToProto(name, "", c))
		}
	}
	slices.SortFunc(out.Channels, func(a, b *deadletterv1.NotificationChannel) int { return strings.Compare(a.Channel, b.Channel) })
	return out, nil
}

func channelToProto(name, kind string, c store.ChannelState) *deadletterv1.NotificationChannel {
	return &deadletterv1.NotificationChannel{
		Channel: name, Kind: kind, LastSuccessTime: timestamp(c.LastSuccess), LastFailureTime: timestamp(c.LastFailure),
		LastError: c.LastError, Waiting: c.Waiting,
	}
}

// ListNotifications implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListNotifications(ctx context.Context, r *deadletterv1.ListNotificationsRequest) (*deadletterv1.ListNotificationsResponse, error) {
	tag := tagOf("notifications", r.Filter)
	before, err := placeOf(tag, r.PageToken)
	if err != nil {
		return nil, err
	}
	f, err := store.NotificationFields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	size := pageSize(r.PageSize, maxPage)
	found, err := s.cfg.Store.NotificationLog(ctx, f, before, size+1)
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListNotificationsResponse{}
	for i := range found[:min(size, len(found))] {
		out.Notifications = append(out.Notifications, notificationToProto(&found[i]))
	}
	if len(found) > size {
		out.NextPageToken = token(tag, found[size-1].Sequence)
	}
	return out, nil
}

func notificationToProto(x *store.Notification) *deadletterv1.Notification {
	return &deadletterv1.Notification{
		NotificationId: x.ID, State: deadletterv1.NotificationState(x.State), RuleId: x.RuleID, Channel: x.Channel,
		Trigger: deadletterv1.NotificationTrigger(x.Trigger), DeadLetterId: x.DeadLetterID, GroupId: x.GroupID,
		Summary: notify.Summary(x), CreateTime: timestamp(x.Time), FailedAttempts: int32(x.Attempts), LastError: x.LastError,
		NextAttemptTime: timestamp(x.NextTime), HeldBack: x.HeldBack,
	}
}

// TestNotification implements warren.deadletter.v1.DeadLetterService.
func (s *Service) TestNotification(ctx context.Context, r *deadletterv1.TestNotificationRequest) (*deadletterv1.TestNotificationResponse, error) {
	problem, took, err := s.cfg.Notifier.Test(ctx, r.Channel, r.Text, callOf(ctx, "TestNotification", ""))
	if errors.Is(err, notify.ErrNoChannel) {
		return nil, rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_NOTIFICATION_CHANNEL_NOT_FOUND,
			"no such channel is configured; --notify does that, ListNotificationChannels has them all")
	}
	if err != nil {
		return nil, answer(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has tested a notification channel", "channel", r.Channel, "sent", problem == "")
	return &deadletterv1.TestNotificationResponse{Sent: problem == "", Error: problem, Latency: durationpb.New(took)}, nil
}
