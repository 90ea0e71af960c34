package admin

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/gateway/internal/control"
)

const noQueue = taskv1.ErrorReason_ERROR_REASON_QUEUE_UNAVAILABLE

func TestQueuesComeInPages(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	s.workers = []control.Worker{workerOf(1, live, typeDelay), workerOf(2, live, typeDelay), workerOf(3, silent, typeDelay), workerOf(4, hasGone, typeDelay)}
	var all, names []string
	for _, known := range f.types.All() {
		all = append(all, known.Name)
	}
	r := &adminv1.ListQueuesRequest{PageSize: 2}
	for more := true; more; more = r.PageToken != "" {
		page, err := f.ListQueues(t.Context(), r)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Queues), 2)
		for _, q := range page.Queues {
			names = append(names, q.TaskType)
			require.Equal(t, "set before", q.Control.Reason)
			if q.TaskType == typeDelay {
				require.InDelta(t, 6, *q.AcknowledgeRate, 1e-9, "of the workers that live")
			} else {
				require.Zero(t, *q.AcknowledgeRate)
			}
		}
		r.PageToken = page.NextPageToken
	}
	require.Equal(t, all, names)

	token := tokenOf(typesAfter, all[0])
	_, err := f.ListQueues(t.Context(), &adminv1.ListQueuesRequest{PageToken: token})
	requireReason(t, err, codes.InvalidArgument, badPageToken)
	s.queueErr = errors.New("no connection")
	_, err = f.ListQueues(t.Context(), &adminv1.ListQueuesRequest{})
	requireReason(t, err, codes.Unavailable, noQueue)
}

func TestAQueueIsShown(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	_, err := f.UpdateTaskType(t.Context(), update(&taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: 77}}, "queue_limit.max_length"))
	require.NoError(t, err)
	for _, name := range spellings {
		answer, err := f.GetQueue(t.Context(), &adminv1.GetQueueRequest{TaskType: name})
		require.NoError(t, err)
		require.Equal(t, typeDelay, answer.Queue.TaskType)
		require.EqualValues(t, 77, answer.Queue.MaxLength)
		require.Equal(t, "set before", answer.Queue.Control.Reason)
		require.NotNil(t, answer.Queue.AcknowledgeRate)
	}
	s.unloaded = true
	answer, err := f.GetQueue(t.Context(), &adminv1.GetQueueRequest{TaskType: typeDelay})
	require.NoError(t, err)
	require.Nil(t, answer.Queue.AcknowledgeRate)

	_, err = f.GetQueue(t.Context(), &adminv1.GetQueueRequest{TaskType: "acme.v1.Nope.Nothing"})
	requireReason(t, err, codes.NotFound, notFound)
	s.queueErr = context.DeadlineExceeded
	_, err = f.GetQueue(t.Context(), &adminv1.GetQueueRequest{TaskType: typeDelay})
	requireReason(t, err, codes.Unavailable, noQueue)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.queueErr = context.Canceled
	_, err = f.GetQueue(ctx, &adminv1.GetQueueRequest{TaskType: typeDelay})
	require.ErrorIs(t, err, context.Canceled)
}
