package broker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/warrenmq/warren/pkg/retry"
)

// Bounds of the wait between two tries to connect.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 3 * time.Second
	// A connection that was up for as long as steady is reconnected to at once. One
	// that was not waits longer each time, but for no longer than shakyBackoff.
	steady       = 5 * time.Second
	shakyBackoff = time.Second
	// dialTimeout bounds opening a connection, the handshake included.
	dialTimeout = 5 * time.Second
)

// supervise keeps a connection: it calls serve, with each address in turn, for
// ever until ctx ends or serve returns nil, which says that it is done. serve
// calls up once it is in working order. That alone does not reset the backoff:
// what ends each connection as soon as it is up would make for a hot loop.
func supervise(ctx context.Context, log *slog.Logger, m *meters, urls []string, serve func(ctx context.Context, a address, up func()) error) {
	backoff, again := minBackoff, false
	m.begin()
	for i := rand.IntN(len(urls)); ctx.Err() == nil; i++ {
		a, err := parseAddress(urls[i%len(urls)])
		if err == nil {
			var since time.Time
			err = serve(ctx, a, func() {
				since = time.Now()
				m.up(again)
				again = true
				log.Debug("connected to the broker", "address", a.String())
			})
			m.down()
			if err == nil || ctx.Err() != nil {
				return
			}
			backoff = afterwards(backoff, since)
			logEnd(log, a, err, !since.IsZero())
		}
		retry.Pause(ctx, backoff/2+rand.N(backoff/2))
		backoff = min(backoff*2, maxBackoff)
	}
}

// afterwards is the backoff after a connection that has worked since then, zero
// for never.
func afterwards(backoff time.Duration, since time.Time) time.Duration {
	switch {
	case since.IsZero():
		return backoff
	case time.Since(since) >= steady:
		return minBackoff
	default:
		return min(backoff, shakyBackoff)
	}
}

func logEnd(log *slog.Logger, a address, err error, worked bool) {
	level, text := slog.LevelWarn, "can't work with the broker, trying again"
	if worked {
		text = "lost the connection to the broker, reconnecting"
	}
	var version *VersionError
	if errors.As(err, &version) {
		level = slog.LevelError
	}
	log.Log(context.Background(), level, text, "address", a.String(), "error", err)
}
