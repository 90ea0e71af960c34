//go:build unix

package brokertest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func TestSharedIsOneNode(t *testing.T) {
	t.Parallel()
	assert.Same(t, brokertest.Shared(t), brokertest.Shared(t))
}

// Not parallel: it looks at all goroutines of the process.
func TestLeakOptionsCoverTheSharedNode(t *testing.T) {
	t.Run("use", func(t *testing.T) {
		b := brokertest.VHost(t)
		b.DeclareQuorumQueue(t, "q", nil)
		assert.Empty(t, b.Drain(t, "q"))
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}
