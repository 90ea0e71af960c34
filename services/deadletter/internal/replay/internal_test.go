package replay

import (
	"container/heap"
	"strconv"
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
		0: minAsk, 8 * minAsk: minAsk, 8 * time.Second: time.Second, 24 * time.Hour: maxAsk,
	} {
		require.Equal(t, want, askPeriod(age), "%v", age)
	}
}

// Of a thousand replays that end one after the other, each is asked for twice or so, and
// the last is known soon after it has ended; so is a single one.
func TestFollowingAsksLittle(t *testing.T) {
	t.Parallel()
	for _, many := range []int{1, 1000} {
		f := newFollower(nil)
		begun := time.Now()
		ends := map[string]time.Time{}
		for i := range many {
			id := strconv.Itoa(i)
			ends[id] = begun.Add(time.Duration(i) * time.Millisecond)
			heap.Push(&f.queue, watched{id: id, begun: begun, next: begun.Add(minAsk)})
		}
		asked := 0
		now := begun
		for len(ends) > 0 {
			due, wait := f.due(now)
			if len(due) == 0 {
				now = now.Add(wait)
				continue
			}
			took := 2*time.Millisecond + time.Duration(len(due))*50*time.Microsecond
			now = now.Add(took)
			asked += len(due)
			var left []watched
			for _, x := range due {
				if ends[x.id].After(now) {
					left = append(left, x)
				} else {
					delete(ends, x.id)
				}
			}
			f.adapt(len(due), len(due)-len(left))
			f.again(left, func(x *watched) time.Time { return now.Add(askPeriod(now.Sub(x.begun))) })
			now = now.Add(min(restShare*took, maxRest))
		}
		late := now.Sub(begun.Add(time.Duration(many) * time.Millisecond))
		t.Logf("%d were asked for %d times, and known %v late", many, asked, late)
		require.LessOrEqual(t, asked, 5*many/2)
		require.LessOrEqual(t, late, 300*time.Millisecond)
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
