//go:build unix

package brokertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

const (
	// installTimeout covers the first use on a machine, when RabbitMQ is installed.
	installTimeout = 10 * time.Minute
	// startTimeout covers slow machines: five seconds are usual for a node.
	startTimeout = 2 * time.Minute
)

// statisticsConfig makes the management API show counts that are at most about half a second old, instead of five.
const (
	statisticsConfig         = "collect_statistics_interval = 500\n"
	statisticsAdvancedConfig = "[{rabbit, [{quorum_tick_interval, 500}]}, {rabbitmq_management_agent, [{sample_retention_policies, [{global, [{605, 1}]}, {basic, [{605, 1}]}, {detailed, [{10, 1}]}]}]}]."
)

// shared is this process's node. It is the one state of the package that outlives a test, since a node takes seconds.
var shared struct {
	once sync.Once
	node *rabbitnode.Node
	err  error
}

// Main runs a package's tests, ends the shared node, removes what it stored, and exits. Call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	// A test that runs on after its failure must not start a node now.
	shared.once.Do(func() { shared.err = errors.New("the tests have ended") })
	if shared.node != nil {
		if err := shared.node.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "brokertest: closing the shared node:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Shared returns the node that all tests of this process share, with management, and starts it at the first call. Tests
// must not stop, pause or block it, and should work in a virtual host of their own (see [VHost]). The environment can name
// another broker instead, see the package comment. A failure to get one fails the test.
func Shared(t testing.TB) *rabbitnode.Node {
	t.Helper()
	shared.once.Do(func() { shared.node, shared.err = openShared() })
	if shared.err != nil {
		t.Fatalf("brokertest: no broker for the tests: %v", shared.err)
	}
	return shared.node
}

func openShared() (*rabbitnode.Node, error) {
	amqpURL, managementURL := os.Getenv("WARREN_TEST_AMQP_URL"), os.Getenv("WARREN_TEST_MANAGEMENT_URL")
	switch {
	case amqpURL != "" && managementURL != "":
		return attach(amqpURL, managementURL)
	case amqpURL != "" || managementURL != "":
		return nil, errors.New("set both WARREN_TEST_AMQP_URL and WARREN_TEST_MANAGEMENT_URL, or neither")
	}
	install, err := find()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return install.Start(ctx, withFreshStatistics(rabbitnode.NodeConfig{Management: true}))
}

// attach lends the credentials of the AMQP URL to a management URL that has none.
func attach(amqpURL, managementURL string) (*rabbitnode.Node, error) {
	amqp, err := url.Parse(amqpURL)
	if err != nil {
		return nil, fmt.Errorf("reading WARREN_TEST_AMQP_URL: %w", err)
	}
	management, err := url.Parse(managementURL)
	if err != nil {
		return nil, fmt.Errorf("reading WARREN_TEST_MANAGEMENT_URL: %w", err)
	}
	if management.User == nil {
		management.User = amqp.User
	}
	return rabbitnode.Attach(amqpURL, strings.TrimSuffix(management.String(), "/")), nil
}

// StartNode runs a node for this test alone, with management, fresh statistics and the given configuration, and closes it
// after the test. It takes about five seconds.
func StartNode(t testing.TB, cfg rabbitnode.NodeConfig) *rabbitnode.Node {
	t.Helper()
	install := mustFind(t)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cfg.Management = true
	node, err := install.Start(ctx, withFreshStatistics(cfg))
	if err != nil {
		t.Fatalf("brokertest: starting a node: %v", err)
	}
	t.Cleanup(func() { closeBroker(t, node.Close) })
	return node
}

// StartCluster runs a cluster of n nodes for this test alone, like [StartNode].
func StartCluster(t testing.TB, n int, cfg rabbitnode.NodeConfig) *rabbitnode.Cluster {
	t.Helper()
	install := mustFind(t)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cfg.Management = true
	cluster, err := install.StartCluster(ctx, n, withFreshStatistics(cfg))
	if err != nil {
		t.Fatalf("brokertest: starting a cluster: %v", err)
	}
	t.Cleanup(func() { closeBroker(t, cluster.Close) })
	return cluster
}

// LeakOptions returns what goleak must ignore in a process where the shared node runs: the goroutines that wait for its
// end.
func LeakOptions() []goleak.Option {
	const pkg = "github.com/warrenmq/warren/pkg/broker/rabbitnode."
	return []goleak.Option{
		goleak.IgnoreAnyFunction(pkg + "(*group).reap"),
		goleak.IgnoreAnyFunction(pkg + "(*notifier).listen"),
	}
}

func closeBroker(t testing.TB, closeIt func() error) {
	t.Helper()
	if err := closeIt(); err != nil {
		t.Errorf("brokertest: closing a broker: %v", err)
	}
}

func mustFind(t testing.TB) rabbitnode.Install {
	t.Helper()
	install, err := find()
	if err != nil {
		t.Fatalf("brokertest: no broker for this test: %v", err)
	}
	return install
}

func find() (rabbitnode.Install, error) {
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	return rabbitnode.Find(ctx, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
}

func withFreshStatistics(cfg rabbitnode.NodeConfig) rabbitnode.NodeConfig {
	cfg.ExtraConfig = statisticsConfig + cfg.ExtraConfig
	if cfg.AdvancedConfig == "" {
		cfg.AdvancedConfig = statisticsAdvancedConfig
	}
	return cfg
}
