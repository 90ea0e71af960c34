package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestAskPeriod(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]time.Duration{
		0: minAsk, 8 * minAsk: minAsk, 8 * time.Second: time.Second, 24 * time.Hour: maxAsk,
	} {
		require.Equal(t, want, askPeriod(age), "%v", age)
	}
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
