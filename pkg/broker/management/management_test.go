//go:build unix

package management_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/management"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const within = 30 * time.Second

func newClient(t testing.TB, address, vhost string) *management.Client {
	t.Helper()
	c, err := management.New(address, vhost)
	require.NoError(t, err)
	return c
}

func TestARealBroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	c := newClient(t, b.ManagementURL, b.VHost)
	b.DeclareQuorumQueue(t, "blue.q", amqp091.Table{"x-delivery-limit": 7})
	b.DeclareQuorumQueue(t, "blueXq", nil)
	ch := b.Channel(t)
	require.NoError(t, ch.ExchangeDeclare("blue.x", "topic", true, false, false, false, nil))
	require.NoError(t, ch.QueueBind("blue.q", "k", "blue.x", false, nil))
	require.NoError(t, ch.ExchangeBind("amq.fanout", "e", "blue.x", false, nil))
	b.SetPolicy(t, "queues", "^blue", "queues", map[string]any{"delivery-limit": 3})
	b.SetPolicy(t, "exchanges", "^blue", "exchanges", map[string]any{"alternate-exchange": "other"})

	overview, err := c.Overview(t.Context())
	require.NoError(t, err)
	assert.Regexp(t, `^4\.\d+\.\d+$`, overview.Version)
	assert.False(t, overview.StatisticsOff)

	nodes, err := c.Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	assert.Equal(t, management.Node{Name: nodes[0].Name, Running: true}, nodes[0])

	queues, err := c.Queues(t.Context(), `^blue\.`)
	require.NoError(t, err)
	assert.Equal(t, []management.Queue{{
		Name: "blue.q", Type: "quorum", Durable: true, Arguments: management.Table{"x-queue-type": "quorum", "x-delivery-limit": 7.0},
		Policy: "queues", Effective: management.Table{"delivery-limit": 3.0}, Members: []string{nodes[0].Name},
	}}, queues)

	exchanges, err := c.Exchanges(t.Context(), `^blue\.`)
	require.NoError(t, err)
	assert.Equal(t, []management.Exchange{
		{Name: "blue.x", Type: "topic", Durable: true, Arguments: management.Table{}, Policy: "exchanges"},
	}, exchanges)

	bindings, err := c.Bindings(t.Context(), "blue.x")
	require.NoError(t, err)
	assert.ElementsMatch(t, []management.Binding{{"blue.q", "queue", "k"}, {"amq.fanout", "exchange", "e"}}, bindings)

	policy, err := c.Policy(t.Context(), "exchanges")
	require.NoError(t, err)
	assert.Equal(t, management.Table{"alternate-exchange": "other"}, policy)
}

func TestARealBrokerHasNone(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	c := newClient(t, b.ManagementURL, b.VHost)
	queues, err := c.Queues(t.Context(), "^none")
	require.NoError(t, err)
	assert.Empty(t, queues)
	bindings, err := c.Bindings(t.Context(), "none")
	require.NoError(t, err)
	assert.Empty(t, bindings)
	_, err = c.Policy(t.Context(), "none")
	require.ErrorIs(t, err, management.ErrNotFound)
	_, err = newClient(t, b.ManagementURL, "no/such").Queues(t.Context(), ".*")
	require.ErrorIs(t, err, management.ErrNotFound)
}

// Dead letters wait while there is no exchange for them.
func TestDeadLettersOfARealBroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	c := newClient(t, b.ManagementURL, b.VHost)
	b.DeclareQuorumQueue(t, "fine", nil)
	b.DeclareQuorumQueue(t, "stuck", amqp091.Table{
		"x-dead-letter-exchange": "none", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish", "x-message-ttl": 1,
	})
	counts, err := c.DeadLetters(t.Context(), ".*")
	require.NoError(t, err)
	assert.Empty(t, counts)
	for range 2 {
		b.Publish(t, "", "stuck", amqp091.Publishing{})
		b.Publish(t, "", "fine", amqp091.Publishing{})
	}
	brokertest.Eventually(t, within, func() error {
		if counts, err := c.DeadLetters(t.Context(), ".*"); err != nil || counts["stuck"] != 2 || len(counts) != 1 {
			return fmt.Errorf("found %v, %w", counts, err)
		}
		return nil
	})
}

func TestARealBrokerRefuses(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	u, err := url.Parse(b.ManagementURL)
	require.NoError(t, err)
	u.User = url.UserPassword("nobody", "hunter2")
	_, err = newClient(t, u.String(), b.VHost).Overview(t.Context())
	require.ErrorIs(t, err, management.ErrUnauthorized)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, `^warren\.`, r.URL.Query().Get("name"))
		assert.Equal(t, "/prefix/api/queues/a%2Fb", r.URL.EscapedPath())
		fmt.Fprintf(w, `{"page_count": 3, "items": [{"name": "q%s", "surprise": {}}]}`, r.URL.Query().Get("page"))
	})
	queues, err := c.Queues(t.Context(), `^warren\.`)
	require.NoError(t, err)
	assert.Equal(t, []management.Queue{{Name: "q1"}, {Name: "q2"}, {Name: "q3"}}, queues)
}

func TestEndlessPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"page_count": 100000}`) })
	_, err := c.Queues(t.Context(), ".*")
	require.ErrorContains(t, err, "more than 100000 queues")
}

// serve is a client of an API that f plays.
func serve(t testing.TB, f http.HandlerFunc) *management.Client {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return newClient(t, strings.Replace(s.URL, "http://", "http://user:hunter2@", 1)+"/prefix/", "a/b")
}

func TestAnswersThatAreOfNoUse(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]http.HandlerFunc{
		"no JSON":       func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"another shape": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"rabbitmq_version": {}}`) },
		"empty":         func(http.ResponseWriter, *http.Request) {},
		"500":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 17 {
				_, _ = w.Write(make([]byte, 1<<20))
			}
		},
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{}")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := serve(t, f).Overview(t.Context())
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestASilentAPIEndsWithTheContext(t *testing.T) {
	defer goleak.VerifyNone(t, append(brokertest.LeakOptions(), goleak.IgnoreCurrent())...)
	asked, stop := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-stop
	}))
	defer s.Close()
	defer close(stop)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := newClient(t, s.URL, "/").Overview(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		assert.True(t, ok)
		assert.Equal(t, "user hunter2", user+" "+password)
		fmt.Fprint(w, `{"rabbitmq_version": "4.3.6", "disable_stats": true}`)
	})
	o, err := c.Overview(t.Context())
	require.NoError(t, err)
	assert.Equal(t, management.Overview{Version: "4.3.6", StatisticsOff: true}, o)
	assert.NotContains(t, c.String(), "hunter2")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.URL.RawQuery)
		fmt.Fprint(w, `{"rabbitmq_version": "4.3.6"}`)
	}))
	t.Cleanup(s.Close)
	_, err := newClient(t, s.URL, "/").Overview(t.Context())
	require.ErrorContains(t, err, "certificate")

	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	_, err = newClient(t, s.URL+"?cacertfile="+url.QueryEscape(file), "/").Overview(t.Context())
	require.NoError(t, err)
}

func TestURLsThatAreNone(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, address := range []string{
		"", "localhost:15672", "amqp://user:hunter2@localhost", "http://user:hunter2@", "http://user:hunter2@bro ker", "http://user:hunter2%zz@broker",
		"https://user:hunter2@h?cacertfile=/none", "https://user:hunter2@h?cacertfile=" + empty,
	} {
		_, err := management.New(address, "/")
		require.Error(t, err, address)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

// Tables come in more shapes than one.
func TestTable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]management.Table{
		`{}`: {}, `[]`: nil, `null`: nil, `""`: nil, `{"a": 1, "b": [2]}`: {"a": 1.0, "b": []any{2.0}},
	} {
		var q management.Queue
		require.NoError(t, json.Unmarshal([]byte(`{"arguments": `+text+`, "policy": null}`), &q))
		assert.Equal(t, management.Queue{Arguments: want}, q, text)
	}
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte(`{"name": "q", "arguments": {"x": 1}, "effective_policy_definition": [], "members": ["n"]}`))
	f.Add([]byte(`{"arguments": {`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q management.Queue
		_ = json.Unmarshal(b, &q)
	})
}
