package forward

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func TestACallThatNeverLeftHasItsReason(t *testing.T) {
	t.Parallel()
	f, server := newFront(t, targettest.Config{Handle: echo})
	server.Stop()
	brokertest.Eventually(t, patience, func() bool { return !f.target.Ready() })
	_, err := f.ask(t, nil)
	require.Error(t, err)
	requireUnreachable(t, f.returned(t))

	for name, why := range map[string]error{
		"a status":  status.Error(codes.Unavailable, "connection refused"),
		"a timeout": context.DeadlineExceeded,
	} {
		err := notBegun(why)
		requireUnreachable(t, err)
		require.ErrorIs(t, err, why, name)
		require.ErrorContains(t, err, why.Error(), "the decision has why")
	}
}

func requireUnreachable(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, task.AdviceNotBegun, advice(err), "%v", err)
	st := status.Convert(err)
	require.Equal(t, codes.Unavailable, st.Code())
	require.Len(t, st.Details(), 1)
	info, ok := st.Details()[0].(*errdetails.ErrorInfo)
	require.True(t, ok)
	require.Equal(t, "warren", info.Domain)
	require.Equal(t, "TARGET_UNREACHABLE", info.Reason)
}
