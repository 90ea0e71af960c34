//go:build unix

package topology

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	// within is how long anything may take that has to happen.
	within   = 30 * time.Second
	taskType = "acme.v1.ImageService.Resize"
)

var (
	names = broker.Names{Namespace: broker.DefaultNamespace}
	work  = names.Work(taskType)
)

// types is a catalogue.
type types []string

func (t types) Types() []catalogue.TaskType {
	var all []catalogue.TaskType
	for _, name := range t {
		all = append(all, catalogue.TaskType{Name: name})
	}
	return all
}

func declare(t *broker.Topology) error {
	return errors.Join(t.DeclareShared(), t.DeclareWork(taskType))
}

func configOf(t testing.TB, url string) broker.Config {
	t.Helper()
	cfg := broker.Config{URLs: []string{url}, Name: t.Name(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	require.NoError(t, cfg.Validate())
	return cfg
}

// connect runs a connection that declares as prepare does, until the test ends.
func connect(t testing.TB, cfg broker.Config, prepare func(*broker.Topology) error) *broker.Connection {
	t.Helper()
	conn := broker.NewConnection(cfg, "consume", prepare)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	bounded, stop := context.WithTimeout(t.Context(), within)
	defer stop()
	require.NoError(t, conn.Do(bounded, func(*broker.Topology) error { return nil }))
	return conn
}

// newChecker checks the virtual host, in which a gateway has declared taskType.
func newChecker(t testing.TB, b brokertest.Broker, change func(*Config)) *Checker {
	t.Helper()
	cfg := configOf(t, b.URL)
	api, err := management.New(b.ManagementURL, cfg.VHost())
	require.NoError(t, err)
	config := Config{
		Broker: cfg, Catalogue: types{taskType}, Management: api, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&config)
	}
	if config.Conn == nil {
		config.Conn = connect(t, cfg, declare)
	}
	c, err := New(config)
	require.NoError(t, err)
	return c
}

// summary is a finding in short.
type summary struct {
	severity       adminv1.Severity
	subject, check string
}

// grave are a fresh check's findings of at least that severity.
func grave(t testing.TB, c *Checker, least adminv1.Severity) (all []summary, full []*adminv1.TopologyFinding) {
	t.Helper()
	require.NoError(t, c.check(t.Context(), 0))
	c.mu.Lock()
	defer c.mu.Unlock()
	all = []summary{}
	for _, f := range c.checked {
		if f.Severity >= least {
			all, full = append(all, summary{f.Severity, f.Subject, f.Check}), append(full, f)
		}
	}
	return all, full
}

// requireFindings waits until these are all findings that something is wrong.
func requireFindings(t testing.TB, c *Checker, want ...summary) []*adminv1.TopologyFinding {
	t.Helper()
	if want == nil {
		want = []summary{}
	}
	var found []*adminv1.TopologyFinding
	brokertest.Eventually(t, within, func() error {
		var all []summary
		all, found = grave(t, c, warning)
		if !assert.ElementsMatch(new(quiet), want, all) {
			return fmt.Errorf("found %v", found)
		}
		return nil
	})
	for _, f := range found {
		t.Logf("%s, %s: wanted %s, found %s. %s", f.Subject, f.Check, f.Wanted, f.Found, f.Problem)
		assert.NotEmpty(t, f.Wanted)
		assert.NotEmpty(t, f.Found)
		assert.NotEmpty(t, f.Problem)
	}
	return found
}

// quiet is a test that does not care.
type quiet struct{}

func (*quiet) Errorf(string, ...any) {}

func onWork(severity adminv1.Severity, check string) summary {
	return summary{severity, "queue " + work, check}
}

func onDead(severity adminv1.Severity, check string) summary {
	return summary{severity, "queue " + names.Dead(), check}
}

func onStatus(severity adminv1.Severity, check string) summary {
	return summary{severity, "queue " + names.Status(), check}
}

func TestAGoodTopology(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	c := newChecker(t, b, nil)
	requireFindings(t, c)
	require.NoError(t, c.Healthy(t.Context()))

	all, found := grave(t, c, adminv1.Severity_SEVERITY_UNSPECIFIED)
	var want []summary
	for _, x := range names.SharedExchanges() {
		want = append(want, summary{good, "exchange " + x.Name, checkAll})
	}
	for _, q := range append(names.SharedQueues(), names.WorkQueue(taskType)) {
		want = append(want, summary{good, "queue " + q.Name, checkAll})
	}
	want = append(want, summary{good, "broker", "version"}, summary{good, "cluster", checkAll})
	assert.ElementsMatch(t, want, all)
	for _, f := range found {
		assert.Empty(t, f.Problem)
	}
}

// Each trap is a policy, and what it makes of a topology that is good.
func TestPolicies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pattern string
		// operator is for an operator's policy.
		operator   bool
		applyTo    string
		definition map[string]any
		want       []summary
	}{
		"overflow turns dead-lettering down": {
			pattern: "work", definition: map[string]any{"overflow": "drop-head"}, want: []summary{onWork(loss, "overflow")},
		},
		"an operator's overflow": {
			pattern: "work", operator: true, definition: map[string]any{"overflow": "reject-publish-dlx"}, want: []summary{onWork(loss, "overflow")},
		},
		"arguments win over dead-lettering by policy": {
			pattern: "work", definition: map[string]any{"dead-letter-exchange": "other", "dead-letter-strategy": "at-most-once"},
		},
		"a routing key of dead letters": {
			pattern: "work", definition: map[string]any{"dead-letter-routing-key": "other"}, want: []summary{onWork(warning, "dead-letter-routing-key")},
		},
		"a delivery limit that crashes reach": {
			pattern: "work", definition: map[string]any{"delivery-limit": 3}, want: []summary{onWork(warning, "delivery-limit")},
		},
		"a delivery limit that is high enough": {pattern: "work", definition: map[string]any{"delivery-limit": 50}},
		"no delivery limit is not what a negative one makes": {
			pattern: "work", definition: map[string]any{"delivery-limit": -1},
		},
		"an operator's delivery limit": {
			pattern: ".*", operator: true, definition: map[string]any{"delivery-limit": 20},
			want: []summary{onDead(loss, "delivery-limit"), onStatus(loss, "delivery-limit"), {warning, "queue " + names.Requests(), "delivery-limit"}},
		},
		"a delivery limit for dead letters": {
			pattern: `^warren\.dead$`, definition: map[string]any{"delivery-limit": 20}, want: []summary{onDead(loss, "delivery-limit")},
		},
		"a time to live everywhere": {
			pattern: ".*", definition: map[string]any{"message-ttl": 86_400_000},
			want: []summary{
				onDead(loss, "message-ttl"), onStatus(loss, "message-ttl"), onWork(warning, "message-ttl"),
				{warning, "queue " + names.Requests(), "message-ttl"},
			},
		},
		"queues that expire": {
			pattern: ".*", definition: map[string]any{"expires": 86_400_000},
			want: []summary{
				onDead(loss, "expires"), onStatus(loss, "expires"), onWork(loss, "expires"), {warning, "queue " + names.Requests(), "expires"},
			},
		},
		"a length limit": {
			pattern: ".*", definition: map[string]any{"max-length": 1000, "max-length-bytes": 1 << 20},
			want: []summary{
				onDead(loss, "max-length"), onStatus(loss, "max-length"), onWork(warning, "max-length"), {warning, "queue " + names.Requests(), "max-length"},
				onDead(loss, "max-length-bytes"), onStatus(loss, "max-length-bytes"), onWork(warning, "max-length-bytes"),
				{warning, "queue " + names.Requests(), "max-length-bytes"},
			},
		},
		"a length limit that refuses": {
			pattern: `^warren\.(dead|status)$`, definition: map[string]any{"max-length": 1000, "overflow": "reject-publish"},
			want: []summary{onDead(warning, "max-length"), onStatus(warning, "max-length")},
		},
		"a length limit that drops tasks": {
			pattern: "work", operator: true, definition: map[string]any{"max-length": 1000, "overflow": "drop-head"},
			want: []summary{onWork(warning, "max-length"), onWork(loss, "overflow")},
		},
		"dead letters that go on": {
			pattern: `^warren\.dead$`, definition: map[string]any{"dead-letter-exchange": "other"}, want: []summary{onDead(warning, "dead-letter-exchange")},
		},
		"impatient consumers": {
			pattern: ".*", definition: map[string]any{"consumer-timeout": 1_800_000},
			want: []summary{onWork(warning, "consumer-timeout"), onStatus(warning, "consumer-timeout")},
		},
		"delayed retries": {
			pattern: "work", definition: map[string]any{"delayed-retry-type": "all", "delayed-retry-min": 1000}, want: []summary{onWork(warning, "delayed-retry-type")},
		},
		"delayed retries that are off": {pattern: "work", definition: map[string]any{"delayed-retry-type": "disabled"}},
		"tasks that reach no queue": {
			pattern: `^warren\.tasks$`, applyTo: "exchanges", definition: map[string]any{"alternate-exchange": "amq.fanout"},
			want: []summary{{loss, "exchange " + names.Tasks(), "alternate-exchange"}},
		},
		"status events that reach no queue": {
			pattern: `status`, applyTo: "exchanges", definition: map[string]any{"alternate-exchange": "amq.fanout"},
			want: []summary{{loss, "exchange " + names.Status(), "alternate-exchange"}},
		},
		"other exchanges may have an alternate": {
			pattern: `dead`, applyTo: "exchanges", definition: map[string]any{"alternate-exchange": "amq.fanout"},
		},
		"somebody else's queues": {pattern: "^other", definition: map[string]any{"expires": 86_400_000}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			c := newChecker(t, b, nil)
			requireFindings(t, c)
			set := setPolicy(t, b, tt.operator, tt.pattern, tt.applyTo, tt.definition)
			if tt.want == nil {
				awaitPolicy(t, c, tt.pattern)
			}
			found := requireFindings(t, c, tt.want...)
			losses := 0
			for _, f := range found {
				assert.Contains(t, f.Problem, "the trap", "the problem does not name the policy")
				if f.Severity == loss {
					losses++
				}
			}
			if losses > 0 {
				require.ErrorContains(t, c.Healthy(t.Context()), found[0].Subject)
			} else {
				require.NoError(t, c.Healthy(t.Context()))
			}
			set()
			requireFindings(t, c)
			require.NoError(t, c.Healthy(t.Context()))
		})
	}
}

// setPolicy sets the policy "the trap" and returns what removes it.
func setPolicy(t testing.TB, b brokertest.Broker, operator bool, pattern, applyTo string, definition map[string]any) (clear func()) {
	t.Helper()
	kind := "policies"
	if operator {
		kind = "operator-policies"
	}
	if applyTo == "" {
		applyTo = "queues"
	}
	ask(t, b, http.MethodPut, map[string]any{"pattern": pattern, "apply-to": applyTo, "definition": definition}, kind, b.VHost, "the trap")
	return func() { ask(t, b, http.MethodDelete, nil, kind, b.VHost, "the trap") }
}

// awaitPolicy waits until the policy is in force where it does no harm.
func awaitPolicy(t testing.TB, c *Checker, pattern string) {
	t.Helper()
	if pattern == "^other" {
		return
	}
	brokertest.Eventually(t, within, func() error {
		v, err := look(t.Context(), c.cfg.Management, names)
		if err != nil {
			return err
		}
		for _, q := range v.queues {
			if q.Policy != "" || q.OperatorPolicy != "" {
				return nil
			}
		}
		for _, x := range v.exchanges {
			if x.Policy != "" {
				return nil
			}
		}
		return errors.New("the policy is not in force")
	})
}

// ask asks the management API for a change.
func ask(t testing.TB, b brokertest.Broker, method string, body any, path ...string) {
	t.Helper()
	content, err := json.Marshal(body)
	require.NoError(t, err)
	target := b.ManagementURL + "/api"
	for _, segment := range path {
		target += "/" + url.PathEscape(segment)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(content))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, _ := io.ReadAll(response.Body)
	require.Less(t, response.StatusCode, 300, "%s", answer)
}

// What is judged is what the broker does: it says itself which limit is in force.
func TestTheDeliveryLimitInForce(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	for name, arguments := range map[string]map[string]any{
		"warren.work.none": nil, "warren.work.seven": {"x-delivery-limit": 7}, "warren.work.unlimited": {"x-delivery-limit": -1}, "warren.work.zero": {"x-delivery-limit": 0},
	} {
		b.DeclareQuorumQueue(t, name, arguments)
	}
	api, err := management.New(b.ManagementURL, b.VHost)
	require.NoError(t, err)
	for _, policy := range []any{nil, 3, 9, -1, 0} {
		definition := map[string]any{"delivery-limit": policy}
		if policy == nil {
			definition = map[string]any{"max-length": 1}
		}
		b.SetPolicy(t, "limit", ".*", "queues", definition)
		brokertest.Eventually(t, within, func() error {
			var shown []struct {
				Name   string `json:"name"`
				Limit  int64  `json:"delivery_limit"`
				Policy struct {
					Limit any `json:"delivery-limit"`
				} `json:"effective_policy_definition"`
			}
			response, err := http.Get(b.ManagementURL + "/api/queues/" + b.VHost + "?disable_stats=true")
			require.NoError(t, err)
			defer response.Body.Close()
			require.NoError(t, json.NewDecoder(response.Body).Decode(&shown))
			v, err := look(t.Context(), api, names)
			if err != nil {
				return err
			}
			for _, s := range shown {
				got := inForce{v.queues[s.Name]}.deliveryLimit()
				if got != s.Limit || s.Policy.Limit != asFloat(policy) {
					return fmt.Errorf("with the policy %v the limit of %s is %v, not %v", policy, s.Name, s.Limit, got)
				}
			}
			return nil
		})
	}
}

func asFloat(v any) any {
	if n, ok := v.(int); ok {
		return float64(n)
	}
	return v
}

func TestBindings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		trap, mend func(b brokertest.Broker, t testing.TB) error
		want       []summary
	}{
		"a queue that reads tasks along": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueBind("audit", taskType, names.Tasks(), false, nil)
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueUnbind("audit", taskType, names.Tasks(), nil)
			},
			want: []summary{{loss, "exchange " + names.Tasks(), checkBindings}},
		},
		"a work queue of another type": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueBind(work, "acme.v1.S.M", names.Tasks(), false, nil)
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueUnbind(work, "acme.v1.S.M", names.Tasks(), nil)
			},
			want: []summary{{loss, "exchange " + names.Tasks(), checkBindings}},
		},
		"an exchange that reads status events along": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).ExchangeBind("amq.fanout", "x", names.Status(), false, nil)
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).ExchangeUnbind("amq.fanout", "x", names.Status(), false, nil)
			},
			want: []summary{{loss, "exchange " + names.Status(), checkBindings}},
		},
		"users may read dead letters along": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueBind("audit", "acme.#", names.Dead(), false, nil)
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueUnbind("audit", "acme.#", names.Dead(), nil)
			},
		},
		"dead letters that are not bound": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueUnbind(names.Dead(), "#", names.Dead(), nil)
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueBind(names.Dead(), "#", names.Dead(), false, nil)
			},
			want: []summary{onDead(loss, checkBound)},
		},
		"dead letters of some types only": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return errors.Join(b.Channel(t).QueueUnbind(names.Dead(), "#", names.Dead(), nil), b.Channel(t).QueueBind(names.Dead(), "acme.#", names.Dead(), false, nil))
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueBind(names.Dead(), "#", names.Dead(), false, nil)
			},
			want: []summary{onDead(loss, checkBound)},
		},
		"a type that is not bound": {
			trap: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueUnbind(work, taskType, names.Tasks(), nil)
			},
			mend: func(b brokertest.Broker, t testing.TB) error {
				return b.Channel(t).QueueBind(work, taskType, names.Tasks(), false, nil)
			},
			want: []summary{onWork(warning, checkBound)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			c := newChecker(t, b, nil)
			b.DeclareQuorumQueue(t, "audit", nil)
			require.NoError(t, tt.trap(b, t))
			requireFindings(t, c, tt.want...)
			require.NoError(t, tt.mend(b, t))
			requireFindings(t, c)
		})
	}
}

// What was declared by somebody else, before the gateway came.
func TestForeignDeclarations(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		arguments map[string]any
		want      []summary
	}{
		"a classic queue": {
			map[string]any{"x-queue-type": "classic"}, []summary{onWork(loss, "queue-type"), onWork(warning, checkArguments)},
		},
		"a quorum queue without anything": {
			map[string]any{"x-queue-type": "quorum"},
			[]summary{
				onWork(loss, "dead-letter-exchange"), onWork(loss, "dead-letter-strategy"), onWork(loss, "overflow"),
				onWork(warning, "consumer-timeout"), onWork(warning, checkArguments),
			},
		},
		"a single active consumer": {
			map[string]any{
				"x-queue-type": "quorum", "x-dead-letter-exchange": names.Dead(), "x-dead-letter-strategy": "at-least-once",
				"x-overflow": "reject-publish", "x-delivery-limit": -1, "x-consumer-timeout": 86_400_000, "x-single-active-consumer": true,
			},
			[]summary{onWork(warning, "single-active-consumer"), onWork(warning, "delivery-limit"), onWork(warning, checkArguments)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			_, err := b.Channel(t).QueueDeclare(work, true, false, false, false, tt.arguments)
			require.NoError(t, err)
			cfg := configOf(t, b.URL)
			conn := connect(t, cfg, (*broker.Topology).DeclareShared)
			require.ErrorIs(t, conn.Do(t.Context(), declare), broker.ErrConflict)
			require.NoError(t, b.Channel(t).QueueBind(work, taskType, names.Tasks(), false, nil))
			c := newChecker(t, b, func(c *Config) { c.Conn = conn })
			requireFindings(t, c, tt.want...)

			c = newChecker(t, b, func(c *Config) { c.Conn, c.Management = conn, nil })
			found := requireFindings(t, c, onWork(warning, checkArguments))
			assert.Contains(t, found[0].Found, "inequivalent arg")
		})
	}
}

func TestWhatWasDeleted(t *testing.T) {
	t.Parallel()
	for _, overAMQP := range []bool{false, true} {
		t.Run(fmt.Sprintf("over AMQP %v", overAMQP), func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			c := newChecker(t, b, func(c *Config) {
				if overAMQP {
					c.Management = nil
				}
			})
			ch := b.Channel(t)
			for _, q := range []string{names.Dead(), names.Requests(), work} {
				_, err := ch.QueueDelete(q, false, false, false)
				require.NoError(t, err)
			}
			require.NoError(t, ch.ExchangeDelete(names.Tasks(), false, false))
			requireFindings(t, c, summary{loss, "exchange " + names.Tasks(), checkExists}, onDead(loss, checkExists),
				onWork(warning, checkExists), summary{warning, "queue " + names.Requests(), checkExists})
			require.Error(t, c.Healthy(t.Context()))

			c.cfg.Declare = declare
			c.checkAndDeclare(t.Context())
			requireFindings(t, c)
			require.NoError(t, c.Healthy(t.Context()))
		})
	}
}

// A management API of another virtual host, or that is late, loses nobody tasks.
func TestAManagementAPIThatShowsSomethingElse(t *testing.T) {
	t.Parallel()
	c := newChecker(t, brokertest.VHost(t), func(c *Config) {
		other := brokertest.VHost(t)
		var err error
		c.Management, err = management.New(other.ManagementURL, other.VHost)
		require.NoError(t, err)
	})
	all, _ := grave(t, c, unverified)
	assert.Equal(t, []summary{{unverified, "management API", checkManagement}}, all)
	require.NoError(t, c.Healthy(t.Context()))
}

func TestWithoutAManagementAPI(t *testing.T) {
	t.Parallel()
	blind := []summary{{unverified, "queues", checkPolicies}, {unverified, "exchanges", checkBindings}, {unverified, "cluster", checkAll}}
	for name, change := range map[string]func(c *Config){
		"--management-url": func(c *Config) { c.Management = nil },
		"refuses this user": func(c *Config) {
			c.Management, _ = management.New("http://nobody:hunter2@"+c.Management.String()[len("http://"):], c.Management.VHost())
		},
		"connection refused": func(c *Config) { c.Management, _ = management.New("http://u:hunter2@127.0.0.1:1", "/") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			setPolicy(t, b, false, ".*", "", map[string]any{"expires": 86_400_000})
			c := newChecker(t, b, change)
			all, full := grave(t, c, unverified)
			assert.Equal(t, blind, all)
			for _, f := range full {
				assert.Contains(t, f.Found+f.Problem, name)
				assert.NotContains(t, f.Found+f.Problem, "hunter2")
			}
			require.NoError(t, c.Healthy(t.Context()))
		})
	}
}

// A user without the tag monitoring sees all but the nodes.
func TestAUserWhoMayNotSeeNodes(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	user := "topology-" + b.VHost
	b.DeclareUser(t, user, "pw", "^$", "^$", "^$")
	ask(t, b, http.MethodPut, map[string]any{"password": "pw", "tags": "management"}, "users", user)
	u, err := url.Parse(b.ManagementURL)
	require.NoError(t, err)
	u.User = url.UserPassword(user, "pw")
	c := newChecker(t, b, func(c *Config) {
		var err error
		c.Management, err = management.New(u.String(), b.VHost)
		require.NoError(t, err)
	})
	brokertest.Eventually(t, within, func() error {
		if all, _ := grave(t, c, unverified); len(all) != 1 || all[0] != (summary{unverified, "cluster", checkAll}) {
			return fmt.Errorf("found %v", all)
		}
		return nil
	})
}

// The broker goes away and comes back; nothing is said about it that is not so.
func TestABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	clear := setPolicy(t, b, false, "work", "", map[string]any{"overflow": "drop-head"})
	cfg := configOf(t, proxy.URL())
	c := newChecker(t, b, func(c *Config) { c.Broker, c.Conn = cfg, connect(t, cfg, declare) })
	requireFindings(t, c, onWork(loss, "overflow"))

	c.cfg.Management, _ = management.New("http://127.0.0.1:1", "/")
	proxy.Cut()
	proxy.Stall()
	clear()
	all, _ := grave(t, c, unverified)
	assert.ElementsMatch(t, []summary{
		{unverified, "broker", checkConnection},
		{unverified, "queues", checkPolicies}, {unverified, "exchanges", checkBindings}, {unverified, "cluster", checkAll},
		onWork(loss, "overflow"),
	}, all, "what is known from before is forgotten")
	require.Error(t, c.Healthy(t.Context()))
}

func TestSettlementsOfARealBroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	c := newChecker(t, b, nil)
	requireFindings(t, c)
	r, err := c.Check(t.Context())
	require.NoError(t, err)
	assert.Equal(t, unverified, r.Severity)
	assert.Nil(t, r.SelfTestTime)

	c.tryOut(t.Context())
	r, err = c.Check(t.Context())
	require.NoError(t, err)
	assert.Equal(t, good, r.Severity)
	assert.WithinDuration(t, time.Now(), r.SelfTestTime.AsTime(), within)
	assert.WithinDuration(t, time.Now(), r.CheckTime.AsTime(), within)
}

// An alarm and a queue with too few members need nodes of their own.
func TestACluster(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartCluster(t, 3, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, cluster.Nodes[0])
	_, err := b.Channel(t).QueueDeclare(work, true, false, false, false, map[string]any{
		"x-queue-type": "quorum", "x-quorum-initial-group-size": 1,
		"x-dead-letter-exchange": names.Dead(), "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
		"x-delivery-limit": 100, "x-consumer-timeout": 86_400_000,
	})
	require.NoError(t, err)
	c := newChecker(t, b, func(c *Config) {
		c.Conn = connect(t, c.Broker, func(t *broker.Topology) error { return t.DeclareShared() })
	})
	require.NoError(t, b.Channel(t).QueueBind(work, taskType, names.Tasks(), false, nil))
	few := summary{warning, "queues", "members"}
	requireFindings(t, c, few, onWork(warning, checkArguments))

	end := brokertest.Alarm(t, cluster.Nodes[1])
	requireFindings(t, c, few, onWork(warning, checkArguments), summary{warning, "cluster", "memory-alarm"})
	end()
	requireFindings(t, c, few, onWork(warning, checkArguments))
}

// Everything that runs ends with the context, and nothing is left in the broker.
func TestRunOnARealBroker(t *testing.T) {
	b := brokertest.VHost(t)
	c := newChecker(t, b, func(c *Config) { c.Declare = declare })
	queues := len(b.Queues(t))
	_, err := b.Channel(t).QueueDelete(names.Dead(), false, false, false)
	require.NoError(t, err)
	already := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	brokertest.Eventually(t, within, func() error {
		r, err := c.Check(t.Context())
		if err != nil || r.Severity != good || r.SelfTestTime == nil {
			return fmt.Errorf("found %v, %w", r, err)
		}
		return nil
	})
	cancel()
	<-done
	goleak.VerifyNone(t, append(brokertest.LeakOptions(), already)...)
	assert.Len(t, b.Queues(t), queues)
}
