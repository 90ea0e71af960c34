//go:build unix

package brokertest

import (
	"errors"
	"testing"
	"time"
)

const pollInterval = 20 * time.Millisecond

// Eventually asks the condition at once and then every 20 ms until it holds, which is true or a nil error, and fails the
// test when it does not within the time, with the last error. The condition runs on the test's goroutine, so it may fail
// the test itself; it must not block.
func Eventually[C func() bool | func() error](t testing.TB, within time.Duration, cond C) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ask(cond)
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %v", within, err)
		case <-tick.C:
		}
	}
}

var errFalse = errors.New("the condition stayed false")

func ask[C func() bool | func() error](cond C) error {
	switch cond := any(cond).(type) {
	case func() error:
		return cond()
	case func() bool:
		if cond() {
			return nil
		}
	}
	return errFalse
}
