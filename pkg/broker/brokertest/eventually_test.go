//go:build unix

package brokertest_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// recorder is a test whose failure can be looked at.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func failureOf(test func(testing.TB)) string {
	r := new(recorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r.failure
}

func TestEventuallyReturnsOnceTheConditionHolds(t *testing.T) {
	t.Parallel()
	asked := 0
	brokertest.Eventually(t, within, func() bool { asked++; return asked == 3 })
	assert.Equal(t, 3, asked)
}

func TestEventuallyFailsWithTheLastError(t *testing.T) {
	t.Parallel()
	failure := failureOf(func(tb testing.TB) {
		brokertest.Eventually(tb, 50*time.Millisecond, func() error { return errors.New("not there") })
	})
	assert.Equal(t, "not within 50ms: not there", failure)
}
