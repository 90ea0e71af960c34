package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var trimRules = map[string]func(*testing.T, store.Store){
	"TrimFeed/forgets the oldest":   trimsOldest,
	"TrimFeed/keeps what is recent": trimKeepsRecent,
}

func trimsOldest(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	future := time.Now().Add(time.Hour)
	trim := func(limit int) int {
		n, err := s.TrimFeed(t.Context(), future, limit)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, trim(10), "there is nothing")
	id := task.NewID()
	events := stream(id, 8, 1)
	for _, e := range events {
		apply(t, s, e)
	}
	entries := feed(t, s, store.FeedQuery{From: begin, Limit: 100}).Entries
	require.Len(t, entries, 10)
	require.Zero(t, trim(0))
	require.Zero(t, trim(-1))
	require.Equal(t, 3, trim(3))
	_, err := s.Feed(t.Context(), store.FeedQuery{From: begin, Limit: 100})
	require.ErrorIs(t, err, store.ErrFeedTrimmed)
	_, err = s.Feed(t.Context(), store.FeedQuery{From: entries[1].Next, Limit: 100})
	require.ErrorIs(t, err, store.ErrFeedTrimmed)
	require.Equal(t, entries[3:], feed(t, s, store.FeedQuery{From: entries[2].Next, Limit: 100}).Entries, "it has missed nothing")

	end, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, trim(1<<20), "the last one stays")
	require.Zero(t, trim(10))
	again, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	require.Equal(t, end, again)
	require.Equal(t, entries[9:], feed(t, s, store.FeedQuery{From: entries[8].Next, Limit: 100}).Entries)
	apply(t, s, succeeded(id))
	require.Equal(t, []eventName{{id, 11}}, namesOf(feed(t, s, store.FeedQuery{From: end, Limit: 100}).Entries))
}

func trimKeepsRecent(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	id := task.NewID()
	apply(t, s, queued(id))
	apply(t, s, started(id))
	n, err := s.TrimFeed(t.Context(), time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Len(t, feed(t, s, store.FeedQuery{From: begin, Limit: 10}).Entries, 2)
}
