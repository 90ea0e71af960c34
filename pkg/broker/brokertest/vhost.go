//go:build unix

package brokertest

import (
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// Broker is a virtual host on a node, for one test.
type Broker struct {
	// URL is the AMQP URL of the virtual host, for an administrator.
	URL string
	// ManagementURL is the base of the node's management API, with credentials and without a final slash.
	ManagementURL string
	// VHost is the name of the virtual host. It is unique.
	VHost string

	api management
}

// VHost makes a virtual host on the [Shared] node and deletes it after the test.
func VHost(t testing.TB) Broker {
	t.Helper()
	return VHostOn(t, Shared(t))
}

// VHostOn makes a virtual host on the node, which must run with management, and deletes it after the test.
func VHostOn(t testing.TB, node *rabbitnode.Node) Broker {
	t.Helper()
	b := Broker{
		ManagementURL: node.ManagementURL(),
		VHost:         "test-" + strings.ToLower(rand.Text()[:12]),
		api:           management{base: node.ManagementURL()},
	}
	var err error
	if b.URL, err = vhostURL(node.URL(), b.VHost); err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	if err := b.api.put(map[string]any{"description": t.Name()}, "vhosts", b.VHost); err != nil {
		t.Fatalf("brokertest: making a virtual host: %v", err)
	}
	t.Cleanup(func() {
		// A test may have stopped its node for good, so that this is worth a line but no failure.
		if err := b.api.delete("vhosts", b.VHost); err != nil && !errors.Is(err, errNotFound) {
			t.Logf("brokertest: deleting a virtual host: %v", err)
		}
	})
	b.permit(t, b.api.user(), ".*", ".*", ".*")
	return b
}

// Via returns the same virtual host as reached through another node of the cluster.
func (b Broker) Via(t testing.TB, node *rabbitnode.Node) Broker {
	t.Helper()
	var err error
	if b.URL, err = vhostURL(node.URL(), b.VHost); err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	b.ManagementURL = node.ManagementURL()
	b.api = management{base: b.ManagementURL}
	return b
}

// DeclareUser makes a user without tags who has the permissions (regular expressions over names) in the virtual host,
// and returns an AMQP URL for it. The user is deleted after the test. Users belong to the whole broker: a name that is
// taken fails the test, so parallel tests need different ones.
func (b Broker) DeclareUser(t testing.TB, name, password, configure, write, read string) string {
	t.Helper()
	if err := b.api.get(nil, "users", name); err == nil {
		t.Fatalf("brokertest: there is a user %q already; users are shared by all virtual hosts", name)
	} else if !errors.Is(err, errNotFound) {
		t.Fatalf("brokertest: looking for user %q: %v", name, err)
	}
	if err := b.api.put(map[string]any{"password": password, "tags": ""}, "users", name); err != nil {
		t.Fatalf("brokertest: making user %q: %v", name, err)
	}
	t.Cleanup(func() {
		if err := b.api.delete("users", name); err != nil && !errors.Is(err, errNotFound) {
			t.Logf("brokertest: deleting user %q: %v", name, err)
		}
	})
	b.permit(t, name, configure, write, read)
	u, err := url.Parse(b.URL)
	if err != nil {
		t.Fatalf("brokertest: reading the broker's URL: %v", err)
	}
	u.User = url.UserPassword(name, password)
	return u.String()
}

func (b Broker) permit(t testing.TB, user, configure, write, read string) {
	t.Helper()
	permissions := map[string]any{"configure": configure, "write": write, "read": read}
	if err := b.api.put(permissions, "permissions", b.VHost, user); err != nil {
		t.Fatalf("brokertest: permitting user %q: %v", user, err)
	}
}

// SetPolicy applies the definition to what matches the pattern in the virtual host; applyTo is "queues", "quorum_queues",
// "exchanges" or another of RabbitMQ's words for it. It reaches existing queues within about a second.
func (b Broker) SetPolicy(t testing.TB, name, pattern, applyTo string, definition map[string]any) {
	t.Helper()
	policy := map[string]any{"pattern": pattern, "apply-to": applyTo, "definition": definition}
	if err := b.api.put(policy, "policies", b.VHost, name); err != nil {
		t.Fatalf("brokertest: setting policy %q: %v", name, err)
	}
}

// ClearPolicy removes the policy.
func (b Broker) ClearPolicy(t testing.TB, name string) {
	t.Helper()
	if err := b.api.delete("policies", b.VHost, name); err != nil {
		t.Fatalf("brokertest: clearing policy %q: %v", name, err)
	}
}
