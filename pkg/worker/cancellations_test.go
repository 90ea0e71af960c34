package worker

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// entry is the n-th cancellation of a list, from 1.
func entry(n int) *brokerv1.Cancellation {
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n))
	return &brokerv1.Cancellation{TaskId: id[:], Run: 1, Reason: fmt.Sprint("reason ", n%3)}
}

func entries(after, to int) (all []*brokerv1.Cancellation) {
	for n := after + 1; n <= to; n++ {
		all = append(all, entry(n))
	}
	return all
}

func batch(request string, after, to int, complete bool) *brokerv1.CancellationBatch {
	return &brokerv1.CancellationBatch{RequestId: request, After: int64(after), Position: int64(to), Entries: entries(after, to), Complete: complete}
}

// knows says whether the n-th cancellation is known.
func (c *cancellations) knows(n int) bool {
	key, _ := keyOf(entry(n))
	reason, yes := c.of(key)
	return yes && reason == entry(n).Reason
}

func TestNothingIsKnownBeforeTheWholeAnswer(t *testing.T) {
	t.Parallel()
	c := newCancellations()
	require.Equal(t, nothingNew, c.apply(batch("", 0, 1, true)), "it has asked for nothing")
	c.begin(7)
	s, changed := c.state()
	require.Equal(t, 7, s.control)
	require.NotEmpty(t, s.request)
	require.Equal(t, nothingNew, c.apply(batch("another", 0, 1, true)))
	require.Equal(t, nothingNew, c.apply(batch(s.request, 1, 2, true)), "not from the beginning")
	require.Equal(t, nothingNew, c.apply(batch(s.request, 0, 2, false)))
	<-changed
	require.False(t, c.knows(1))
	require.Equal(t, nothingNew, c.apply(batch("", 2, 3, true)), "news before the answer is whole")
	require.Equal(t, nothingNew, c.apply(batch(s.request, 3, 4, true)), "a part is missing")
	require.Equal(t, allKnown, c.apply(batch(s.request, 2, 4, true)))
	for n := range 4 {
		require.True(t, c.knows(n+1))
	}
	s, _ = c.state()
	require.True(t, s.synced)
	require.EqualValues(t, 4, s.position)
	require.Equal(t, nothingNew, c.apply(batch(s.request, 0, 9, true)), "it was answered")

	require.Equal(t, knownNow, c.apply(batch("", 4, 5, true)))
	require.Equal(t, nothingNew, c.apply(batch("", 4, 5, true)), "again")
	require.Equal(t, missedSome, c.apply(batch("", 6, 7, true)))
	require.False(t, c.knows(7))
	require.Equal(t, knownNow, c.apply(&brokerv1.CancellationBatch{After: 5, Position: 7}), "none is for it")
	require.Equal(t, nothingNew, c.apply(&brokerv1.CancellationBatch{After: 7, Position: 7, Forget: entries(1, 3)}))
	require.True(t, c.knows(1))
	require.False(t, c.knows(2))
	require.False(t, c.knows(3))

	c.lose()
	s, _ = c.state()
	require.Equal(t, syncState{}, s)
	require.True(t, c.knows(5), "what it knew it does not start")
}

func TestNothingWasEverCancelled(t *testing.T) {
	t.Parallel()
	for _, complete := range []bool{true, false} {
		c := newCancellations()
		c.begin(1)
		s, _ := c.state()
		require.Equal(t, allKnown, c.apply(&brokerv1.CancellationBatch{RequestId: s.request, Complete: true}))
		require.Zero(t, c.size.Load())
		require.Equal(t, knownNow, c.apply(batch("", 0, 1, complete)))
		require.True(t, c.knows(1))
	}
}

func TestNewsMayBeginAnew(t *testing.T) {
	t.Parallel()
	c := newCancellations()
	c.begin(1)
	s, _ := c.state()
	c.apply(batch(s.request, 0, 5, true))
	anew := batch("", 0, 6, false)
	anew.Entries = anew.Entries[2:]
	require.Equal(t, nothingNew, c.apply(anew))
	require.True(t, c.knows(1))
	require.Equal(t, knownNow, c.apply(batch("", 6, 7, true)))
	require.False(t, c.knows(1))
	require.True(t, c.knows(7))
}

// Who answers may know less than who told before.
func TestALateAnswerTakesNothingBack(t *testing.T) {
	t.Parallel()
	c := newCancellations()
	c.begin(1)
	s, _ := c.state()
	c.apply(batch(s.request, 0, 5, true))
	c.apply(batch("", 5, 6, true))
	c.begin(2)
	s, _ = c.state()
	require.Equal(t, allKnown, c.apply(batch(s.request, 0, 3, true)))
	require.True(t, c.knows(3))
	require.True(t, c.knows(6))
	s, _ = c.state()
	require.EqualValues(t, 3, s.position, "what it may have missed is told again")
}

func TestWhatNamesNoRunIsPassedOver(t *testing.T) {
	t.Parallel()
	c := newCancellations()
	c.begin(1)
	s, _ := c.state()
	b := batch(s.request, 0, 1, true)
	b.Entries = append(b.Entries, &brokerv1.Cancellation{TaskId: []byte("short"), Run: 1}, &brokerv1.Cancellation{TaskId: make([]byte, 16)})
	b.Forget = []*brokerv1.Cancellation{{}}
	require.Equal(t, allKnown, c.apply(b))
	require.EqualValues(t, 1, c.size.Load())
}

// Whatever is lost, repeated or late: a worker that says a position knows all up to
// it that was not forgotten.
func TestPositionIsHonest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCancellations()
		last, controls := 0, 0
		forgotten := map[int]bool{}
		var sent []*brokerv1.CancellationBatch
		deliver := func(b *brokerv1.CancellationBatch) {
			c.apply(b)
			sent = append(sent, b)
		}
		t.Repeat(map[string]func(*rapid.T){
			"cancel": func(t *rapid.T) {
				n := rapid.IntRange(1, 3).Draw(t, "entries")
				b := batch("", last, last+n, true)
				last += n
				if rapid.Bool().Draw(t, "heard") {
					deliver(b)
				}
			},
			"answer": func(t *rapid.T) {
				s, _ := c.state()
				to := rapid.IntRange(0, last).Draw(t, "known to the gateway")
				for at := 0; ; {
					next := min(to, at+rapid.IntRange(1, 4).Draw(t, "page"))
					b := batch(s.request, at, next, next == to)
					b.Entries = nil
					for n := at + 1; n <= next; n++ {
						if !forgotten[n] {
							b.Entries = append(b.Entries, entry(n))
						}
					}
					if rapid.IntRange(0, 9).Draw(t, "lost") > 0 {
						deliver(b)
					}
					if at = next; at == to {
						return
					}
				}
			},
			"catch up": func(*rapid.T) {
				if s, _ := c.state(); s.synced && int(s.position) < last {
					deliver(batch("", int(s.position), last, true))
				}
			},
			"repeat": func(t *rapid.T) {
				if len(sent) > 0 {
					c.apply(rapid.SampledFrom(sent).Draw(t, "batch"))
				}
			},
			"forget": func(t *rapid.T) {
				if last > 0 {
					n := rapid.IntRange(1, last).Draw(t, "position")
					forgotten[n] = true
					deliver(&brokerv1.CancellationBatch{After: int64(last), Position: int64(last), Forget: []*brokerv1.Cancellation{entry(n)}})
				}
			},
			"lose": func(*rapid.T) { c.lose() },
			"begin": func(*rapid.T) {
				controls++
				c.begin(controls)
			},
			"": func(t *rapid.T) {
				s, _ := c.state()
				for n := 1; s.synced && n <= int(s.position); n++ {
					if !forgotten[n] && !c.knows(n) {
						t.Fatalf("at %d it does not know %d", s.position, n)
					}
				}
				if int64(len(c.known)) != c.size.Load() {
					t.Fatalf("%d are known, it says %d", len(c.known), c.size.Load())
				}
			},
		})
	})
}
