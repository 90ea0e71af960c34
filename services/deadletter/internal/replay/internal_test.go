package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestDue(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		age, since time.Duration
		want       bool
	}{
		{0, minAsk - 1, false}, {0, minAsk, true},
		{8 * time.Second, time.Second - 1, false}, {8 * time.Second, time.Second, true},
		{24 * time.Hour, maxAsk - 1, false}, {24 * time.Hour, maxAsk, true},
	} {
		require.Equal(t, c.want, due(now.Add(-c.age), now.Add(-c.since), now), "%v", c)
	}
	require.True(t, due(now, time.Time{}, now), "at first")
}

func TestRebuildMakesUpForWhatIsMissing(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := &store.DeadLetter{ID: task.NewID(), Type: "t", FirstDeadTime: now.Add(-time.Hour), Message: &store.Message{}, Template: []byte(`{"Priority":-1}`)}
	m, trace, err := rebuild(d, 7, now)
	require.NoError(t, err)
	require.Equal(t, task.PriorityNormal, m.Priority)
	require.Equal(t, d.FirstDeadTime, m.CreateTime)
	require.Equal(t, now, m.RunTime)
	require.Equal(t, 7, m.Run)
	require.Empty(t, trace)
	for _, broken := range []string{"", "{", `{"Retry":"/w=="}`} {
		d.Template = []byte(broken)
		_, _, err := rebuild(d, 7, now)
		require.Error(t, err)
	}
}
