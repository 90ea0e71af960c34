package noop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// longestLine bounds a report.
const longestLine = 1 << 20

// Listener knows what a worker has reported.
type Listener struct {
	mu      sync.Mutex
	changed chan struct{}
	all     map[uint32][]string
	marks   map[uint32][]Mark
	started map[string]time.Time
	failed  error
}

// NewListener has no reports yet.
func NewListener() *Listener {
	return &Listener{changed: make(chan struct{}), all: map[uint32][]string{}, marks: map[uint32][]Mark{}, started: map[string]time.Time{}}
}

// Listen takes in reports until they end, and whoever waits then fails.
func (l *Listener) Listen(in io.Reader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		if err := l.take(lines.Text()); err != nil {
			l.update(func() { l.failed = err })
			return
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	}
	l.update(func() { l.failed = fmt.Errorf("read the worker's reports: %w", err) })
}

func (l *Listener) take(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return fmt.Errorf("the worker reports %q, which is not understood", line)
	}
	switch fields[0] {
	case wordAll:
		batch, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return fmt.Errorf("the worker reports %q: %w", line, err)
		}
		l.update(func() { l.all[uint32(batch)] = fields[2:] })
		return nil
	case wordReached:
		if err := l.takeMark(fields[1:]); err != nil {
			return fmt.Errorf("the worker reports %q: %w", line, err)
		}
		return nil
	case wordStarted:
		if len(fields) == 3 {
			at, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				return fmt.Errorf("the worker reports %q: %w", line, err)
			}
			l.update(func() { l.note(fields[1], time.Unix(0, at)) })
			return nil
		}
	}
	return fmt.Errorf("the worker reports %q, which is not understood", line)
}

// note keeps the first start of a task.
func (l *Listener) note(id string, at time.Time) {
	if _, again := l.started[id]; !again {
		l.started[id] = at
	}
}

func (l *Listener) update(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// AwaitAll waits until all tasks of a batch have been started, and gives the ids
// of those that were last, in no order.
func (l *Listener) AwaitAll(ctx context.Context, batch uint32) ([]string, error) {
	var ids []string
	err := l.await(ctx, func() bool {
		last, ok := l.all[batch]
		ids = last
		return ok
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the worker has started all tasks: %w", err)
	}
	return ids, nil
}

// AwaitStart waits until a task has been started, by an order that asks for that
// report, and says when. It can be asked once.
func (l *Listener) AwaitStart(ctx context.Context, id string) (time.Time, error) {
	var at time.Time
	err := l.await(ctx, func() bool {
		started, ok := l.started[id]
		at = started
		delete(l.started, id)
		return ok
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("wait for the start of task %s: %w", id, err)
	}
	return at, nil
}

// await waits until the worker has reported what is asked for.
func (l *Listener) await(ctx context.Context, known func() bool) error {
	for {
		l.mu.Lock()
		ok, failed, changed := known(), l.failed, l.changed
		l.mu.Unlock()
		switch {
		case ok:
			return nil
		case failed != nil:
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
