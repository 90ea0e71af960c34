package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestAskPeriod(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]time.Duration{
		0: minAsk, 4 * minAsk: minAsk, 8 * time.Second: 2 * time.Second, 24 * time.Hour: maxAsk,
	} {
		require.Equal(t, want, askPeriod(age), "%v", age)
	}
}

// In a minute in which it is looked at at odd times, and stalls now and then, a bucket
// keeps its rate, and bursts by no more than a second's share.
func TestBucketKeepsItsRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0.5, 3, 200, 5000} {
		var b bucket
		start := time.Now()
		now, begun, stalls := start, 0, 0
		for i := 0; now.Before(start.Add(10 * time.Minute)); i++ {
			b.fill(rate, now)
			n := b.allowed(1 << 20)
			require.LessOrEqual(t, float64(n), max(rate, 1))
			b.spend(n)
			begun += n
			wait := max(b.wait(), time.Millisecond)
			if i%50 == 49 {
				wait += 700 * time.Millisecond
				stalls++
			}
			now = now.Add(wait)
		}
		require.Positive(t, stalls)
		require.InEpsilon(t, rate, float64(begun)/now.Sub(start).Seconds(), 0.05)
	}
	var b bucket
	now := time.Now()
	b.fill(10, now)
	require.Zero(t, b.allowed(100), "it begins empty")
	b.fill(10, now.Add(time.Hour))
	require.Equal(t, 10, b.allowed(100), "a stall is made up for by a second's share")
	b.fill(0, now.Add(time.Hour))
	require.Equal(t, 100, b.allowed(100), "no bound")
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

// What a replay's plan said holds for its own run alone.
func TestLaterReplaysAreAsTheFirst(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Microsecond)
	encode := func(expire time.Time, attempts int32) []byte {
		return EncodeTemplate(&broker.TaskMessage{CreateTime: now, ExpireTime: expire, Retry: &taskv1.RetryPolicy{MaxAttempts: attempts}})
	}
	d := &store.DeadLetter{
		ID: task.NewID(), Type: "t", Message: &store.Message{}, FirstTemplate: encode(now.Add(time.Hour), 5), Template: encode(time.Time{}, 1),
	}
	last, err := decodeTemplate(d)
	require.NoError(t, err)
	require.Equal(t, now.Add(time.Hour), last.expiry(store.ExpiryKept, now.Add(24*time.Hour)))
	require.Equal(t, now.Add(25*time.Hour), last.expiry(store.ExpiryRenewed, now.Add(24*time.Hour)))
	m, _, err := rebuild(d, 3, now)
	require.NoError(t, err)
	require.EqualValues(t, 5, m.Retry.MaxAttempts)
	d.FirstTemplate = []byte("{")
	_, err = decodeTemplate(d)
	require.Error(t, err)
}
