package load_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/services/bench/internal/load"
)

func TestEachCallIsATask(t *testing.T) {
	f := &fake{}
	took, err := under(t, f).Calls(bounded(t), 777)
	require.NoError(t, err)
	require.Equal(t, 777, f.tasks)
	require.LessOrEqual(t, f.longest, load.Callers)
	require.Positive(t, took)
}

func TestThatCallsWaitForAnswersIsMeasured(t *testing.T) {
	answered := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { close(answered) })
	took, err := under(t, &fake{call: func() error {
		<-answered
		return nil
	}}).Calls(bounded(t), load.Callers)
	require.NoError(t, err)
	require.GreaterOrEqual(t, took, 50*time.Millisecond)
}

func TestDurableAndDirectCallsTakeTurns(t *testing.T) {
	f := &fake{}
	before := time.Now()
	found, err := under(t, f).CallLatencies(bounded(t), 200*time.Millisecond)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(before), 190*time.Millisecond, "at the rate")
	require.Len(t, found, 20)
	require.Equal(t, 20, f.tasks)
	require.Equal(t, 20, f.directly)
	for _, l := range found {
		require.Positive(t, l.Durable)
		require.Positive(t, l.Direct)
	}
}

func TestACallThatFailsIsAnError(t *testing.T) {
	l := under(t, &fake{call: func() error { return status.Error(codes.Aborted, "given up") }})
	_, err := l.Calls(bounded(t), 10)
	require.ErrorContains(t, err, "given up")
	_, err = l.CallLatencies(bounded(t), 10*time.Millisecond)
	require.ErrorContains(t, err, "given up")
}

func TestCallsEndWithTheirContext(t *testing.T) {
	l := under(t, &fake{})
	why := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, why)
	defer cancel()
	_, err := l.CallLatencies(ctx, time.Hour)
	require.Error(t, err)
	_, err = l.Calls(ctx, 10)
	require.Error(t, err)
}
