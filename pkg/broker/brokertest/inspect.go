//go:build unix

package brokertest

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"
)

// QueueInfo is what the management API knows about a queue. Counts and states are samples, up to about a second old on
// nodes of this package: wait for them with [Eventually].
type QueueInfo struct {
	Name                   string         `json:"name"`
	Type                   string         `json:"type"`
	State                  string         `json:"state"`
	Durable                bool           `json:"durable"`
	Arguments              map[string]any `json:"arguments"`
	Policy                 string         `json:"policy"`
	EffectivePolicy        map[string]any `json:"effective_policy_definition"`
	Messages               int            `json:"messages"`
	MessagesReady          int            `json:"messages_ready"`
	MessagesUnacknowledged int            `json:"messages_unacknowledged"`
	// MessagesDelayed counts the messages of a quorum queue that wait for their delivery time, which are not ready.
	MessagesDelayed int `json:"messages_delayed"`
	Consumers       int `json:"consumers"`
	// Leader and Members are node names, of quorum queues and streams.
	Leader  string   `json:"leader"`
	Members []string `json:"members"`
}

// BindingInfo is a binding of a queue or an exchange to an exchange.
type BindingInfo struct {
	Source          string         `json:"source"`
	Destination     string         `json:"destination"`
	DestinationType string         `json:"destination_type"`
	RoutingKey      string         `json:"routing_key"`
	Arguments       map[string]any `json:"arguments"`
}

// Queue returns the queue. A queue that does not exist fails the test.
func (b Broker) Queue(t testing.TB, name string) QueueInfo {
	t.Helper()
	var queue QueueInfo
	if err := b.api.get(&queue, "queues", b.VHost, name); err != nil {
		t.Fatalf("brokertest: inspecting queue %q: %v", name, err)
	}
	return queue
}

// Queues returns all queues of the virtual host.
func (b Broker) Queues(t testing.TB) []QueueInfo {
	t.Helper()
	var queues []QueueInfo
	if err := b.api.get(&queues, "queues", b.VHost); err != nil {
		t.Fatalf("brokertest: listing queues: %v", err)
	}
	return queues
}

// Bindings returns the bindings of the virtual host, but for those that every queue has to the default exchange.
func (b Broker) Bindings(t testing.TB) []BindingInfo {
	t.Helper()
	var all, bindings []BindingInfo
	if err := b.api.get(&all, "bindings", b.VHost); err != nil {
		t.Fatalf("brokertest: listing bindings: %v", err)
	}
	for _, binding := range all {
		if binding.Source != "" {
			bindings = append(bindings, binding)
		}
	}
	return bindings
}

// connectionPatience is how long a connection that just opened may take to appear in the management API.
const connectionPatience = 10 * time.Second

// CloseConnections makes the broker close every connection to the virtual host, as an administrator would, and returns
// how many there were. It waits until that many appear which the test has opened; fewer fail it.
func (b Broker) CloseConnections(t testing.TB, opened int) int {
	t.Helper()
	var connections []struct {
		Name string `json:"name"`
	}
	Eventually(t, connectionPatience, func() error {
		if err := b.api.get(&connections, "vhosts", b.VHost, "connections"); err != nil {
			return err
		}
		if len(connections) < opened {
			return fmt.Errorf("there are %d connections to %s, not %d", len(connections), b.VHost, opened)
		}
		return nil
	})
	for _, connection := range connections {
		if err := b.api.delete("connections", connection.Name); err != nil && !errors.Is(err, errNotFound) {
			t.Fatalf("brokertest: closing connection %s: %v", url.PathEscape(connection.Name), err)
		}
	}
	return len(connections)
}
