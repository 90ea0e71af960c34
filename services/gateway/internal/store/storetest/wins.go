package storetest

import (
	"errors"
	"sync/atomic"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// requireOneWins has callers make changes of which each excludes the others, all at
// once: one is made, and the others are refused.
func requireOneWins(t test, callers int, change func(caller int) error) {
	t.Helper()
	var g errgroup.Group
	var won atomic.Int64
	for i := range callers {
		g.Go(func() error {
			err := change(i)
			if err == nil {
				won.Add(1)
			} else if errors.Is(err, store.ErrChanged) {
				err = nil
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, won.Load())
}
