package projection

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
)

// A projection that is an hour behind says so at every moment, not only while a batch is
// being applied; one that has rested does not once something comes.
func TestAgeBetweenBatches(t *testing.T) {
	t.Parallel()
	now := time.UnixMicro(1e15)
	h := &held{}
	require.Zero(t, h.age(now, true))
	h.begin([]task.Event{{Time: now.Add(-time.Minute)}, {Time: now.Add(-time.Hour)}, {Time: now}})
	require.Equal(t, time.Hour, h.age(now, false))
	h.end(now.Add(time.Second))
	require.Equal(t, time.Hour+time.Second, h.age(now.Add(2*time.Second), true))
	require.Zero(t, h.age(now.Add(2*time.Second), false), "nothing waits")
	require.Zero(t, h.age(now.Add(time.Second+betweenBatches), true), "what waits now came later")
	h.begin(nil)
	h.end(now.Add(3 * time.Second))
	require.Equal(t, time.Hour+time.Second, h.age(now.Add(4*time.Second), true), "a batch without events says nothing")
	h.begin([]task.Event{{Time: now.Add(time.Hour)}})
	require.Zero(t, h.age(now, false), "a worker's clock may be ahead")
}
