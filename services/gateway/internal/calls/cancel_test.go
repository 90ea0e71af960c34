package calls

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCancelled(t *testing.T) {
	t.Parallel()
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		// given is the caller's time, left what of it was left.
		given, left time.Duration
		cancelled   bool
	}{
		"at the deadline":                {time.Second, 0, false},
		"past it":                        {time.Second, -time.Second, false},
		"just before":                    {time.Second, 100 * time.Millisecond, false},
		"before":                         {time.Second, 101 * time.Millisecond, true},
		"a long time":                    {time.Hour, 501 * time.Millisecond, true},
		"the end of a long time":         {time.Hour, 500 * time.Millisecond, false},
		"a short time":                   {100 * time.Millisecond, 51 * time.Millisecond, true},
		"the end of a short time":        {100 * time.Millisecond, 50 * time.Millisecond, false},
		"no more time than is the bound": {40 * time.Millisecond, 40 * time.Millisecond, false},
	} {
		ctx, cancel := context.WithDeadline(t.Context(), begin.Add(c.given))
		require.Equal(t, c.cancelled, cancelled(ctx, begin, begin.Add(c.given-c.left)), name)
		cancel()
	}
	require.True(t, cancelled(t.Context(), begin, begin), "there is no deadline")
}
