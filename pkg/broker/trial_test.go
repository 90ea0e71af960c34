package broker

import (
	"errors"
	"fmt"
	"testing"

	amqp "github.com/Azure/go-amqp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A later RabbitMQ may refuse an outcome; one that has lost a queue refuses none.
func TestARefusedSettlementMisbehaves(t *testing.T) {
	t.Parallel()
	refusal := fmt.Errorf("take a message: %w", &amqp.LinkError{RemoteErr: &amqp.Error{Condition: amqp.ErrCondNotImplemented}})
	var misbehaves *SettlementError
	require.ErrorAs(t, refused(refusal, settleUndeliverable), &misbehaves)
	assert.Equal(t, settleUndeliverable, misbehaves.Settlement)

	for _, other := range []error{
		&amqp.LinkError{RemoteErr: &amqp.Error{Condition: amqp.ErrCondResourceDeleted}}, &amqp.LinkError{}, errors.New("lost"), nil,
	} {
		assert.Equal(t, other, refused(other, settleUndeliverable))
	}
}
