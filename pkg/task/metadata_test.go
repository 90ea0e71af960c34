package task_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
)

func TestWhatTravels(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"authorization", "cookie", "set-cookie", "proxy-authorization", "grpc-timeout", "grpc-trace-bin", "warren-task-id", ":authority",
		"content-type", "user-agent", "te", "traceparent", "tracestate", "baggage",
	} {
		require.False(t, task.Travels(key), key)
	}
	md := map[string][]string{"x-request-id": {"a", "b"}, "x-bin": {"\x00\xff"}, "authorization": {"secret"}, "empty": nil}
	require.Equal(t, task.Metadata{"x-request-id": {"a", "b"}, "x-bin": {"\x00\xff"}}, task.Travelling(md))
	require.Nil(t, task.Travelling(map[string][]string{"cookie": {"a"}}))
}

func TestMetadataIsCutByWholeKeys(t *testing.T) {
	t.Parallel()
	m := task.Metadata{"a": {"12", "3"}, "b": {strings.Repeat("x", 10)}, "c": {"1"}}
	require.Equal(t, 18, m.Size())
	require.Equal(t, m, m.Cut(18))
	require.Equal(t, task.Metadata{"a": {"12", "3"}, "b": {strings.Repeat("x", 10)}}, m.Cut(17))
	require.Equal(t, task.Metadata{"a": {"12", "3"}}, m.Cut(15), "what follows a key that does not fit is left out too")
	require.Empty(t, m.Cut(0))
}
