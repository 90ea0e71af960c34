package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventsAreCountedWithoutDecodingThem(t *testing.T) {
	t.Parallel()
	body, err := (&StatusBatch{Events: [][]byte{{1}, {}, make([]byte, 5000)}, Markers: []string{"a", "b"}}).encode()
	require.NoError(t, err)
	require.Equal(t, 3, CountEvents(body))
	require.Zero(t, CountEvents(nil))
	require.Zero(t, CountEvents(body[:len(body)-1]))
	require.Zero(t, CountEvents([]byte{0xff, 0xff}))
}
