package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var heldRules = map[string]func(*testing.T, store.Store){
	"Held/once for each key, in order":    holdsInOrder,
	"Held/a page is bounded in its bytes": boundsHeld,
}

func holdsInOrder(t *testing.T, s store.Store) {
	ctx := t.Context()
	require.NoError(t, s.Hold(ctx, []store.Held{{Key: "b", Data: []byte{2}}, {Key: "a", Data: []byte{1}}}))
	require.NoError(t, s.Hold(ctx, []store.Held{{Key: "a", Data: []byte("other")}, {Key: "c", Data: []byte{3}}}))
	all, err := s.Held(ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, all, 3)
	for i, h := range []store.Held{{Key: "b", Data: []byte{2}}, {Key: "a", Data: []byte{1}}, {Key: "c", Data: []byte{3}}} {
		h.Sequence = all[i].Sequence
		require.Equal(t, h, all[i])
	}
	next, err := s.Held(ctx, all[0].Sequence, 1)
	require.NoError(t, err)
	require.Equal(t, all[1:2], next)
	require.NoError(t, s.Unhold(ctx, []string{"a", "b", "unknown"}))
	left, err := s.Held(ctx, 0, 10)
	require.NoError(t, err)
	require.Equal(t, all[2:], left)
}

func boundsHeld(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, key := range []string{"a", "b", "c"} {
		require.NoError(t, s.Hold(ctx, []store.Held{{Key: key, Data: make([]byte, store.MaxPageBytes*2/3)}}))
	}
	page, err := s.Held(ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, page, 1)
}
