package broker

import (
	"context"
	"sync"
)

// lanes bound the messages that await their confirm by where they go.
type lanes struct {
	mu    sync.Mutex
	byKey map[string]*lane
}

// lane is there as long as somebody is in it, or waits to be.
type lane struct {
	slots chan struct{}
	users int
}

// enter waits for a place in a lane, which free gives back. It fails with the
// cause of the end of ctx.
func (l *lanes) enter(ctx context.Context, key string) (free func(), err error) {
	own := l.use(key)
	select {
	case own.slots <- struct{}{}:
		return func() {
			<-own.slots
			l.leave(key, own)
		}, nil
	case <-ctx.Done():
		l.leave(key, own)
		return nil, context.Cause(ctx)
	}
}

func (l *lanes) use(key string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.byKey[key]
	if own == nil {
		own = &lane{slots: make(chan struct{}, maxInLane)}
		l.byKey[key] = own
	}
	own.users++
	return own
}

func (l *lanes) leave(key string, own *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(l.byKey, key)
	}
}
