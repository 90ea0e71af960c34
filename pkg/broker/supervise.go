package broker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Bounds of the wait between two tries to connect.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 3 * time.Second
	// dialTimeout bounds opening a connection, the handshake included.
	dialTimeout = 5 * time.Second
)

// supervise keeps a connection: it calls serve, with each address in turn, for
// ever until ctx ends or serve returns nil, which says that it is done. serve
// calls up once it is in working order, which resets the backoff.
func supervise(ctx context.Context, log *slog.Logger, urls []string, serve func(ctx context.Context, a address, up func()) error) {
	backoff := minBackoff
	for i := rand.IntN(len(urls)); ctx.Err() == nil; i++ {
		a, err := parseAddress(urls[i%len(urls)])
		if err == nil {
			worked := false
			err = serve(ctx, a, func() {
				worked, backoff = true, minBackoff
				log.Debug("connected to the broker", "address", a.String())
			})
			if err == nil || ctx.Err() != nil {
				return
			}
			logEnd(log, a, err, worked)
		}
		pause(ctx, backoff/2+rand.N(backoff/2))
		backoff = min(backoff*2, maxBackoff)
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

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
