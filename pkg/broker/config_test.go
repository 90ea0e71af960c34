package broker_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	var cfg broker.Config
	require.NoError(t, cfg.Validate())
	assert.Equal(t, []string{"amqp://guest:guest@127.0.0.1:5672/"}, cfg.URLs)
	assert.Equal(t, "warren", cfg.Namespace)
	assert.NotNil(t, cfg.Logger)
	assert.Equal(t, broker.Names{Namespace: "warren"}, cfg.Names())
}

func TestConfigAcceptsURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"amqp://broker", "amqp://broker:5673/", "amqps://user:p%40ss@broker/a%2Fb", "amqp://[::1]:5672/vhost",
	} {
		cfg := broker.Config{URLs: []string{url}}
		assert.NoError(t, cfg.Validate(), url)
	}
}

func TestConfigNeverRepeatsAPassword(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	for _, url := range []string{
		"http://user:hunter2@broker/",
		"amqp://user:hunter2@broker:port/",
		"amqp://user:hunter2@bro ker/",
		"amqp://user:hunter2@broker:5672/%zz",
		"amqp://user:hunter2%zz@broker/",
		"user:hunter2@broker",
		"://user:hunter2@broker",
		"amqp://user:hunter2@broker/\x7f",
	} {
		cfg := broker.Config{URLs: []string{broker.DefaultURL, url}}
		err := cfg.Validate()
		if assert.Error(t, err, url) {
			assert.NotContains(t, err.Error(), password)
			assert.NotContains(t, err.Error(), "user")
		}
	}
}

func TestConfigNamespaces(t *testing.T) {
	t.Parallel()
	for namespace, ok := range map[string]bool{
		"a": true, "warren": true, "team-1_blue": true, "0": true, strings.Repeat("n", 32): true,
		strings.Repeat("n", 33): false, "Warren": false, "a.b": false, "a b": false, "a/b": false, "#": false, "*": false, "ä": false, "a\n": false,
	} {
		cfg := broker.Config{Namespace: namespace}
		err := cfg.Validate()
		if ok {
			assert.NoError(t, err, "%q", namespace)
		} else {
			assert.ErrorContains(t, err, "namespace", "%q", namespace)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	n := broker.Names{Namespace: "blue"}
	for got, want := range map[string]string{
		n.Tasks(): "blue.tasks", n.Work("a.B.C"): "blue.work.a.B.C", n.Status(): "blue.status", n.Dead(): "blue.dead",
		n.Announce(): "blue.announce", n.Requests(): "blue.requests", n.Beats("g1"): "blue.beats.g1",
		n.Control(): "blue.control", n.ControlQueue("w1", 2): "blue.control.w.w1.2",
	} {
		assert.Equal(t, want, got)
	}
}
