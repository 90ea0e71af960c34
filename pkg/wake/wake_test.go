package wake

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSignalsThatNobodyHasSeenAreOne(t *testing.T) {
	t.Parallel()
	c := make(chan struct{}, 1)
	Signal(c)
	Signal(c)
	<-c
	require.Empty(t, c)
	Signal(c)
	require.Len(t, c, 1)
	Signal(nil)
}
