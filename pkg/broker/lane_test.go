package broker

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFullLaneLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	l := lanes{byKey: map[string]*lane{}}
	var frees []func()
	for range maxInLane {
		free, err := l.enter(t.Context(), "stuck")
		require.NoError(t, err)
		frees = append(frees, free)
	}
	over, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	_, err := l.enter(over, "stuck")
	require.ErrorIs(t, err, enough)
	free, err := l.enter(t.Context(), "other")
	require.NoError(t, err)
	free()
	require.Len(t, l.byKey, 1, "who is empty is forgotten")

	entered := make(chan func())
	go func() {
		free, err := l.enter(t.Context(), "stuck")
		if err == nil {
			entered <- free
		}
	}()
	frees[0]()
	(<-entered)()
	for _, free := range frees[1:] {
		free()
	}
	require.Empty(t, l.byKey)
}
