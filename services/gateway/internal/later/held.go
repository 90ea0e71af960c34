package later

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/pkg/wake"
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
	// checked says that its run had not ended.
	checked bool
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

// log is for lines about the task.
func (h *held) log(log *slog.Logger, taskType string) *slog.Logger {
	about := telemetry.TaskOfLog{ID: h.TaskID, Type: taskType, Run: 1}
	if h.message != nil {
		about.Run = h.message.Run
		about = about.InSpan(telemetry.SpanOf(h.message.Trace))
	}
	return about.Log(log)
}

// hold puts tasks that were taken into the lines of their types and has those served.
// It says how many it were: those that are held already are left out, their first
// lease ended by a clock that jumped.
func (l *Loop) hold(ctx, work context.Context, due []store.Due, until time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, d := range due {
		if l.held[d.TaskID] != nil {
			continue
		}
		n++
		h := decode(d, until)
		l.held[d.TaskID] = h
		l.bytes += len(h.Message)
		in := l.lines[d.Type]
		if in == nil {
			in = &line{}
			l.lines[d.Type] = in
		}
		in.enter(h)
		if !in.served {
			in.served = true
			l.serving.Go(func() { l.serve(ctx, work, d.Type, in) })
		}
	}
	return n
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
	wake.Signal(l.freed)
	l.reopen()
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

// hasPlenty says that there is no haste to let go of tasks.
func (l *Loop) hasPlenty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held) < maxHeld/2 && l.bytes < maxHeldBytes/2
}

// nextTake says how many tasks to take now, and how many of a type at most. Those with
// no room are remembered, so that the loop is woken when there is some.
func (l *Loop) nextTake() (limit int, most map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.closed)
	most = map[string]int{}
	for name, in := range l.lines {
		room := l.room(in)
		most[name] = room
		switch {
		case room == 0:
			l.closed[name] = in
		case in.tasks == nil && !in.served && !in.stalled:
			delete(l.lines, name)
		}
	}
	return l.limit(), most
}

// limit is how many tasks to take at once: half of a line's share of what is free, as
// far as messages are as large as those that are held.
func (l *Loop) limit() int {
	n := min(maxTake, (maxHeld-len(l.held))/(2*share))
	if l.bytes > 0 {
		n = min(n, (maxHeldBytes-l.bytes)/(2*share)*len(l.held)/l.bytes)
	}
	return max(1, n)
}

// room is how many more tasks a line takes. What each may hold is a share of what is
// still free: however many queues take nothing, there is room for another.
func (l *Loop) room(in *line) int {
	bound := max(1, (maxHeld-len(l.held))/share)
	if in.stalled {
		bound = min(bound, probe)
	}
	if in.rest.After(time.Now()) || in.bytes > 0 && in.bytes >= (maxHeldBytes-l.bytes)/share {
		return 0
	}
	return max(0, bound-in.count)
}

// reopen wakes the loop if a line has room that had none.
func (l *Loop) reopen() {
	for _, in := range l.closed {
		if l.room(in) > 0 {
			clear(l.closed)
			l.next = l.cfg.Clock()
			wake.Signal(l.wake)
			return
		}
	}
}
