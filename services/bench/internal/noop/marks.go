package noop

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Mark is that a part of a batch's tasks were started for the first time, when that
// was, and how many attempts were started by then, repeated ones included.
type Mark struct {
	Attempts int
	Time     time.Time
}

// Marks is how many marks each batch of two tasks or more has: at a tenth and at
// nine tenths of them, so that what is in between is neither slow to begin nor
// about to end, and never waits for tasks that are to be tried again.
const Marks = 2

// marked says whether there is a mark at so many of all tasks of a batch.
func marked(count, tasks uint32) bool {
	tenth := (tasks + 9) / 10
	return count == tenth || count == max(tasks-tasks/10, tenth)
}

// takeMark takes in the fields of a mark's line after its first word.
func (l *Listener) takeMark(fields []string) error {
	if len(fields) != 3 {
		return fmt.Errorf("%d fields", len(fields))
	}
	batch, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		return err
	}
	count, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return err
	}
	l.update(func() {
		l.marks[uint32(batch)] = append(l.marks[uint32(batch)], Mark{Attempts: int(count), Time: time.Unix(0, at)})
	})
	return nil
}

// MarksOf are the marks of a batch so far.
func (l *Listener) MarksOf(batch uint32) []Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marks[batch]
}

// AwaitMarks waits until a batch has so many marks, [Marks] at most.
func (l *Listener) AwaitMarks(ctx context.Context, batch uint32, n int) ([]Mark, error) {
	var marks []Mark
	err := l.await(ctx, func() bool {
		marks = l.marks[batch]
		return len(marks) >= n
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the worker has started a part of the tasks: %w", err)
	}
	return marks, nil
}
