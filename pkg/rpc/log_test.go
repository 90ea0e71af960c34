package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// marker stands for what users send.
const marker = "kept-out-of-logs"

func TestWhatACallsLogLineHas(t *testing.T) {
	t.Parallel()
	invalid := func() *rpc.Error {
		return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_INVALID, "the payload has %s", marker)
	}
	for name, c := range map[string]struct {
		err  error
		want string // empty for no line
	}{
		"a message":            {rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID, "no such field"), "no such field"},
		"a private message":    {invalid().Hidden(), "grpc.error=PAYLOAD_INVALID"},
		"one that was wrapped": {fmt.Errorf("submit: %w", invalid().Hidden()), "grpc.error=PAYLOAD_INVALID"},
		"somebody's answer":    {&rpc.AnswerError{Status: status.New(codes.Internal, marker)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn, log := serve(t, func(context.Context) error { return c.err })
			for kind, call := range calls(conn) {
				got := status.Convert(call(t.Context(), id))
				require.Equal(t, status.Code(c.err), got.Code())
				require.Equal(t, strings.Contains(c.err.Error(), marker), strings.Contains(got.Message(), marker), "%s: the caller is told", kind)
				text := log.Take()
				require.NotContains(t, text, marker, kind)
				if c.want == "" {
					require.Empty(t, text, kind)
					continue
				}
				require.Equal(t, 1, strings.Count(text, "\n"), "%s: one line for a failure: %s", kind, text)
				require.Contains(t, text, c.want, kind)
			}
		})
	}
}

func TestLoggable(t *testing.T) {
	t.Parallel()
	own := rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_INVALID, "the payload has %s", marker)
	require.Contains(t, rpc.Loggable(own), marker)
	require.Equal(t, "PAYLOAD_INVALID", rpc.Loggable(fmt.Errorf("fire: %w", own.Hidden())))
	require.Equal(t, "no", rpc.Loggable(errors.New("no")))
}
