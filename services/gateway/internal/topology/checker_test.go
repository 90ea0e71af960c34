package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// away is a connection that is not there, and counts who needs it.
type away struct{ asked atomic.Int32 }

func (a *away) Do(context.Context, func(*broker.Topology) error) error {
	a.asked.Add(1)
	return errors.New("no connection")
}

// trials are self-tests with given outcomes, the last one for ever.
type trials struct {
	mu       sync.Mutex
	outcomes []error
	times    []time.Time
}

func (x *trials) run(context.Context, broker.Config, string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.times = append(x.times, time.Now())
	err := x.outcomes[0]
	if len(x.outcomes) > 1 {
		x.outcomes = x.outcomes[1:]
	}
	return err
}

// done are the times of those that were carried out.
func (x *trials) done() []time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.times)
}

// offline is a checker without any broker, whose log goes to the buffer.
func offline(t testing.TB, log *bytes.Buffer, outcomes ...error) (*Checker, *trials) {
	t.Helper()
	cfg := broker.Config{}
	require.NoError(t, cfg.Validate())
	c, err := New(Config{Broker: cfg, Conn: new(away), Catalogue: types{taskType}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	x := &trials{outcomes: outcomes}
	c.selfTest = x.run
	return c, x
}

// checks counts the checks that are made, and tells of each.
type checks struct {
	n    atomic.Int32
	made chan struct{}
}

// newChecks has room for what a test makes.
func newChecks() *checks { return &checks{made: make(chan struct{}, 1000)} }

func (x *checks) Types() []catalogue.TaskType {
	x.n.Add(1)
	x.made <- struct{}{}
	return nil
}

// await waits for n more checks.
func (x *checks) await(n int) {
	for range n {
		<-x.made
	}
}

func TestRunChecksEachMinuteAndTriesOutEachHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, x := offline(t, new(bytes.Buffer), nil)
		made := newChecks()
		c.cfg.Catalogue = made
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		synctest.Wait()
		assert.EqualValues(t, 1, made.n.Load())
		assert.Len(t, x.done(), 1)
		began := time.Now()
		made.await(151)
		synctest.Wait()
		assert.Equal(t, 150*time.Minute, time.Since(began))
		assert.EqualValues(t, 151, made.n.Load())
		times := x.done()
		require.Len(t, times, 3)
		assert.Equal(t, time.Hour, times[1].Sub(began))
		assert.Equal(t, 2*time.Hour, times[2].Sub(began))
		cancel()
		<-done
	})
}

// What can't be tried out is tried again soon.
func TestASelfTestThatCanNotBeCarriedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, x := offline(t, new(bytes.Buffer), errors.New("no broker"), errors.New("no broker"), nil)
		made := newChecks()
		c.cfg.Catalogue = made
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		synctest.Wait()
		f := settlementsOf(t, c)
		assert.Equal(t, unverified, f.Severity)
		made.await(11)
		synctest.Wait()
		assert.Len(t, x.done(), 3)
		assert.Equal(t, good, settlementsOf(t, c).Severity)
		cancel()
		<-done
	})
}

func settlementsOf(t testing.TB, c *Checker) *adminv1.TopologyFinding {
	t.Helper()
	r, err := c.Check(t.Context())
	require.NoError(t, err)
	for _, f := range r.Findings {
		if f.Subject == subjectSettlements {
			return f
		}
	}
	t.Fatal("there is no finding about settlements")
	return nil
}

func TestSettlements(t *testing.T) {
	t.Parallel()
	lost := &broker.SettlementError{Settlement: "modified", Wanted: "it comes back", Found: "it did not"}
	late := &broker.SettlementError{Settlement: "modified", Wanted: "it comes soon", Found: "it did not", Timing: true}
	tests := map[string]struct {
		outcomes []error
		want     adminv1.Severity
		tries    int
	}{
		"as they should be":         {[]error{nil}, good, 1},
		"one failure may be chance": {[]error{lost, nil}, good, 2},
		"two are not":               {[]error{lost, fmt.Errorf("wrapped: %w", lost)}, loss, 2},
		"late":                      {[]error{late}, warning, 2},
		"not carried out":           {[]error{errors.New("no broker")}, unverified, 1},
		"not carried out twice":     {[]error{lost, errors.New("no broker")}, unverified, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, x := offline(t, new(bytes.Buffer), tt.outcomes...)
			c.tryOut(t.Context())
			f := settlementsOf(t, c)
			assert.Equal(t, tt.want, f.Severity)
			assert.Len(t, x.done(), tt.tries)
			assert.Equal(t, tt.want == loss, c.Healthy(t.Context()) != nil)
			assert.Equal(t, tt.want != good, f.Problem != "")

			// What was found stands until it was tried out again.
			x.outcomes = []error{errors.New("no broker")}
			c.tryOut(t.Context())
			assert.Equal(t, tt.want, settlementsOf(t, c).Severity)
			x.outcomes = []error{nil}
			c.tryOut(t.Context())
			assert.Equal(t, good, settlementsOf(t, c).Severity)
			require.NoError(t, c.Healthy(t.Context()))
		})
	}
}

func TestAFindingIsLoggedWhenItComesAndGoes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c, _ := offline(t, &log, nil)
	report := func(all ...*adminv1.TopologyFinding) string {
		log.Reset()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.checked = all
		c.report()
		return log.String()
	}
	grave := &adminv1.TopologyFinding{Severity: loss, Subject: "queue q", Check: "expires", Found: "after 1m0s", Problem: "it goes"}
	slight := &adminv1.TopologyFinding{Severity: warning, Subject: "queue q", Check: "members"}
	changed := &adminv1.TopologyFinding{Severity: loss, Subject: "queue q", Check: "expires", Found: "after 2m0s"}
	harmless := &adminv1.TopologyFinding{Severity: unverified, Subject: "queues", Check: "policies"}

	said := report(grave, slight, slight, harmless)
	assert.Equal(t, 1, strings.Count(said, "level=ERROR"), said)
	assert.Equal(t, 1, strings.Count(said, "level=WARN"), said)
	assert.Contains(t, said, `subject="queue q" check=expires wanted="" found="after 1m0s" problem="it goes"`)
	assert.Equal(t, 2, strings.Count(said, "\n"), said)
	assert.Empty(t, report(grave, slight, harmless))
	assert.Empty(t, report(changed, slight))

	said = report(slight)
	assert.Equal(t, 1, strings.Count(said, "level=INFO"), said)
	assert.Contains(t, said, "is gone")
	assert.Equal(t, 1, strings.Count(report(grave, slight), "level=ERROR"))
}

func TestTheGravestComeFirst(t *testing.T) {
	t.Parallel()
	c, _ := offline(t, new(bytes.Buffer), nil)
	c.tryOut(t.Context())
	r, err := c.Check(t.Context())
	require.NoError(t, err)
	assert.Equal(t, unverified, r.Severity)
	for i, f := range r.Findings[1:] {
		assert.GreaterOrEqual(t, r.Findings[i].Severity, f.Severity)
	}
	assert.Equal(t, good, r.Findings[len(r.Findings)-1].Severity)
}

func TestHealthyUntilChecked(t *testing.T) {
	t.Parallel()
	c, _ := offline(t, new(bytes.Buffer), nil)
	require.NoError(t, c.Healthy(t.Context()))
}

func TestCallersShareACheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := offline(t, new(bytes.Buffer), nil)
		made := newChecks()
		c.cfg.Catalogue = made
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := c.Check(t.Context())
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, made.n.Load())
		// Within the time of one answer still, then as old as it may be.
		c.checkTime = time.Now().Add(time.Nanosecond - freshness)
		_, err := c.Check(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 1, made.n.Load())
		c.checkTime = time.Now().Add(-freshness)
		_, err = c.Check(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 2, made.n.Load())
	})
}

func TestCheckEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c, _ := offline(t, new(bytes.Buffer), nil)
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	_, err := c.Check(ctx)
	require.ErrorIs(t, err, stopped)
	c.turn <- struct{}{}
	_, err = c.Check(ctx)
	require.ErrorIs(t, err, stopped)
}

// A gauge that keeps the last value for each severity.
type gauge struct {
	noop.Int64Gauge
	mu     sync.Mutex
	values map[string]int64
}

func (g *gauge) Record(_ context.Context, n int64, options ...metric.RecordOption) {
	g.mu.Lock()
	defer g.mu.Unlock()
	set := metric.NewRecordConfig(options).Attributes()
	v, _ := set.Value("severity")
	g.values[v.AsString()] = n
}

func TestFindingsAreCounted(t *testing.T) {
	t.Parallel()
	c, _ := offline(t, new(bytes.Buffer), nil)
	g := &gauge{values: map[string]int64{}}
	c.gauge = g
	require.NoError(t, c.check(t.Context(), 0))
	assert.Equal(t, map[string]int64{"ok": 0, "unverified": 5, "warning": 0, "loss": 0}, g.values)
	c.tryOut(t.Context())
	assert.Equal(t, map[string]int64{"ok": 1, "unverified": 4, "warning": 0, "loss": 0}, g.values)
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]adminv1.Severity{
		"4.3.6": good, "4.3.5": good, "4.4.0": good, "5.0.0-rc.1": good, "4.10.0+3": good, "4.3.4": warning, "4.3.3": warning,
		"4.3.2": loss, "4.2.9": loss, "3.13.7": loss, "4.3": loss, "": loss, "four": loss,
	} {
		j := &judge{view: &view{overview: management.Overview{Version: version}}}
		j.broker()
		require.Len(t, j.findings, 1)
		assert.Equal(t, want, j.findings[0].Severity, version)
	}
}

func TestAManagementAPIWithoutStatistics(t *testing.T) {
	t.Parallel()
	j := &judge{view: &view{overview: management.Overview{Version: "4.3.6", StatisticsOff: true}}}
	j.broker()
	require.Len(t, j.findings, 2)
	assert.Equal(t, unverified, j.findings[1].Severity)
}

// Dead letters that are on their way are no finding, those that stay are.
func TestDeadLettersThatNobodyTakes(t *testing.T) {
	t.Parallel()
	c, _ := offline(t, new(bytes.Buffer), nil)
	now := time.Now()
	found := func(after time.Duration, counts map[string]int64) int {
		v := &view{deadLetters: counts}
		j := &judge{names: names, view: v}
		j.deadLetters(c.stuckFor(v, now.Add(after)))
		return len(j.findings)
	}
	assert.Zero(t, found(0, map[string]int64{"a": 1, "b": 1}))
	assert.Zero(t, found(time.Minute, map[string]int64{"a": 1}))
	assert.Equal(t, 1, found(2*time.Minute, map[string]int64{"a": 5, "b": 1}))
	assert.Zero(t, found(3*time.Minute, map[string]int64{"b": 1}))
	assert.Zero(t, found(4*time.Minute, map[string]int64{"a": 1}))
}

// The rules by which arguments and policies combine, but for the delivery limit's,
// which a real broker tells.
func TestInForce(t *testing.T) {
	t.Parallel()
	both := func(argument, policy management.Table) inForce {
		return inForce{management.Queue{Arguments: argument, Effective: policy}}
	}
	for name, tt := range map[string]struct{ got, want any }{
		"no overflow":             {both(nil, nil).overflow(), "drop-head"},
		"overflow by argument":    {both(management.Table{"x-overflow": "reject-publish"}, nil).overflow(), "reject-publish"},
		"overflow by policy":      {both(management.Table{"x-overflow": "reject-publish"}, management.Table{"overflow": "drop-head"}).overflow(), "drop-head"},
		"no strategy":             {both(nil, nil).strategy(), "at-most-once"},
		"a strategy by policy":    {both(nil, management.Table{"dead-letter-strategy": "at-least-once"}).strategy(), "at-least-once"},
		"no timeout":              {both(nil, nil).consumerTimeout(), 30 * time.Minute},
		"the smaller timeout":     {both(management.Table{"x-consumer-timeout": 60_000.0}, management.Table{"consumer-timeout": 50_000.0}).consumerTimeout(), 50 * time.Second},
		"a timeout by argument":   {both(management.Table{"x-consumer-timeout": 60_000.0}, nil).consumerTimeout(), time.Minute},
		"retries by policy":       {both(management.Table{"x-delayed-retry-type": "all", "x-delayed-retry-min": 5.0}, management.Table{"delayed-retry-type": "disabled"}).retried(), ""},
		"retries by argument":     {both(management.Table{"x-delayed-retry-type": "failed", "x-delayed-retry-min": 5.0}, nil).retried(), "failed, from 5ms"},
		"what is no number":       {both(management.Table{"x-delivery-limit": "7"}, nil).deliveryLimit(), int64(20)},
		"a routing key, argument": {both(management.Table{"x-dead-letter-routing-key": "a"}, management.Table{"dead-letter-routing-key": "b"}).argumentFirst("dead-letter-routing-key"), "a"},
	} {
		assert.Equal(t, tt.want, tt.got, name)
	}
}

func TestNamesOfQueuesAreQuotedForTheShell(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `'it'\''s'`, quote("it's"))
	assert.Equal(t, "a, b, c and 2 more", some([]string{"a", "b", "c", "d", "e"}))
}
