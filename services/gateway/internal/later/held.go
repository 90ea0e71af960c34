package later

import (
	"context"
	"errors"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// held is a task that was taken.
type held struct {
	store.Due
	// message is nil if it can't be decoded, and problem says why.
	message *broker.TaskMessage
	problem error
	// until is when it is too late to publish it under its lease.
	until time.Time
}

var errNoType = errors.New("it has no task type")

func decode(d store.Due, until time.Time) *held {
	h := &held{Due: d, until: until}
	h.message, h.problem = broker.DecodeTask(d.Message)
	if h.problem == nil && h.message.Type == "" {
		h.message, h.problem = nil, errNoType
	}
	return h
}

// line is where a task stands in; those whose messages can't be decoded share one.
func (h *held) line() string {
	if h.message == nil {
		return ""
	}
	return h.message.Type
}

// hold puts tasks that were taken into their lines, and says how many it were. Those
// that find theirs full are left to the end of their lease, as are those that are
// held already: their first lease ended by a clock that jumped.
func (l *Loop) hold(ctx context.Context, due []store.Due, until time.Time) int {
	n := 0
	for _, d := range due {
		if l.stand(ctx, decode(d, until)) {
			n++
		}
	}
	return n
}

// stand puts a task into its line and has that served. For room in one that moves it
// waits; it returns false if the task is not taken in.
func (l *Loop) stand(ctx context.Context, h *held) bool {
	for {
		ok, again := l.tryStand(ctx, h)
		if !again {
			return ok
		}
		timer := time.NewTimer(stuck)
		select {
		case <-l.freed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// tryStand is stand, but that it asks to be called again where that waits.
func (l *Loop) tryStand(ctx context.Context, h *held) (ok, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h.TaskID] != nil {
		return false, false
	}
	name := h.line()
	in := l.lines[name]
	if in == nil {
		in = &line{moved: time.Now()}
		l.lines[name] = in
		l.serving.Go(func() { l.serve(ctx, name) })
	}
	if in.full() {
		return false, time.Since(in.moved) < stuck
	}
	in.add(h)
	l.held[h.TaskID] = h
	l.bytes += len(h.Message)
	return true, false
}

// release lets go of tasks.
func (l *Loop) release(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if h := l.held[id]; h != nil {
			l.bytes -= len(h.Message)
			delete(l.held, id)
		}
	}
	signal(l.freed)
}

// awaitRoom waits until more tasks can be held; false says that ctx has ended.
func (l *Loop) awaitRoom(ctx context.Context) bool {
	for !l.hasRoom() {
		select {
		case <-l.freed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (l *Loop) hasRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held) < maxHeld && l.bytes < maxHeldBytes
}
