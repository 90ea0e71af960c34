//go:build unix

package management_test

import (
	"fmt"
	"net/http"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/management"
)

func TestLoadsOfARealBroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	c := newClient(t, b.ManagementURL, b.VHost)
	b.DeclareQuorumQueue(t, "blue.q", nil)
	b.DeclareQuorumQueue(t, "blueXq", nil)
	for range 3 {
		b.Publish(t, "", "blue.q", amqp091.Publishing{})
	}
	ch := b.Channel(t)
	for range 2 {
		_, ok, err := ch.Get("blue.q", false)
		require.NoError(t, err)
		require.True(t, ok)
	}
	brokertest.Eventually(t, within, func() error {
		loads, err := c.Loads(t.Context(), management.Exactly("blue.q"))
		require.NoError(t, err)
		require.Len(t, loads, 1)
		if l := loads["blue.q"]; l.Unacknowledged == nil || *l.Unacknowledged != 2 || l.Delayed == nil || *l.Delayed != 0 || l.PublishRate == nil {
			return fmt.Errorf("found %+v", l)
		}
		return nil
	})
	// A rate is of the last seconds: it takes a stream of messages to see one.
	brokertest.Eventually(t, within, func() error {
		b.Publish(t, "", "blueXq", amqp091.Publishing{})
		loads, err := c.Loads(t.Context(), "^blue")
		require.NoError(t, err)
		if l := loads["blueXq"]; len(loads) != 2 || l.PublishRate == nil || *l.PublishRate == 0 {
			return fmt.Errorf("found %+v", loads)
		}
		return nil
	})
	none, err := c.Loads(t.Context(), management.Exactly("none"))
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestLoadsWithoutStatistics(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"page_count": 1, "items": [{"name": "q"}, {"name": "r", "messages_unacknowledged": 0}]}`)
	})
	loads, err := c.Loads(t.Context(), ".*")
	require.NoError(t, err)
	assert.Equal(t, management.Load{}, loads["q"])
	assert.Zero(t, *loads["r"].PublishRate)
	assert.Nil(t, loads["r"].Delayed)

	c = serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	_, err = c.Loads(t.Context(), ".*")
	require.ErrorIs(t, err, management.ErrUnauthorized)
}
