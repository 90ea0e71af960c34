// Package topology checks what is declared in RabbitMQ, and the policies in
// force there, against what the promises need; and that the settlements which
// retries are built on do what they should.
package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/pkg/catalogue"
)

const (
	// period is the time between two checks.
	period = time.Minute
	// selfTestPeriod is the time between two self-tests.
	selfTestPeriod = time.Hour
	// checkTimeout bounds a check.
	checkTimeout = 30 * time.Second
	// amqpTimeout bounds the part of a check that goes over AMQP.
	amqpTimeout = 5 * time.Second
	// freshness is for how long the answer of one check serves others who ask.
	freshness = time.Second
)

// Connection runs f with a topology on an open connection, waiting for one.
type Connection interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// Catalogue knows the task types whose queues are to be there.
type Catalogue interface {
	Types() []catalogue.TaskType
}

// Config is what a checker needs.
type Config struct {
	// Broker is the broker that is checked. It must be valid.
	Broker    broker.Config
	Conn      Connection
	Catalogue Catalogue
	// Management asks the same broker's management API; nil is not at all, and
	// most of what there is to check is then UNVERIFIED.
	Management *management.Client
	// Declare declares what is missing. Run calls it when something is; nil is
	// never.
	Declare func(*broker.Topology) error
	Logger  *slog.Logger
	// MeterProvider is where the count of findings goes. Default otel's own.
	MeterProvider metric.MeterProvider
}

// Checker checks the topology. It is safe for concurrent use.
type Checker struct {
	cfg      Config
	names    broker.Names
	selfTest func(ctx context.Context, cfg broker.Config, id string) error
	gauge    metric.Int64Gauge
	// turn is held by who checks.
	turn chan struct{}
	// stuck is since when queues have had dead letters that nobody takes. It goes
	// with the turn.
	stuck map[string]time.Time

	mu sync.Mutex
	// checked is what the last check has found, at checkTime.
	checked   []*adminv1.TopologyFinding
	checkTime time.Time
	// tried is what the last self-test that could be carried out has found, at
	// triedTime.
	tried     *adminv1.TopologyFinding
	triedTime time.Time
	// reported are the findings that are in the log as being there.
	reported map[findingKey]bool
}

// New makes a checker. It checks nothing by itself before Run.
func New(cfg Config) (*Checker, error) {
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	gauge, err := cfg.MeterProvider.Meter("github.com/warrenmq/warren/services/gateway/internal/topology").Int64Gauge("warren.topology.findings",
		metric.WithUnit("{finding}"), metric.WithDescription("What the last check of RabbitMQ's topology has found, by severity."))
	if err != nil {
		return nil, fmt.Errorf("make the gauge of findings: %w", err)
	}
	return &Checker{
		cfg: cfg, names: cfg.Broker.Names(), selfTest: broker.SelfTest, gauge: gauge,
		turn: make(chan struct{}, 1), stuck: map[string]time.Time{}, tried: untried(), reported: map[findingKey]bool{},
	}, nil
}

// Run checks once the broker is connected and then once a minute, and tries out
// settlements at first and then once an hour, until ctx ends.
func (c *Checker) Run(ctx context.Context) {
	// Its error means that the connection, or ctx, has ended meanwhile.
	_ = c.cfg.Conn.Do(ctx, func(*broker.Topology) error { return nil })
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for ctx.Err() == nil {
		c.checkAndDeclare(ctx)
		if c.selfTestDue(time.Now()) {
			c.tryOut(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// checkAndDeclare has what is missing declared anew, which is worth an error in
// the log even so: what was in it is gone.
func (c *Checker) checkAndDeclare(ctx context.Context) {
	if c.check(ctx, 0) != nil || c.cfg.Declare == nil || !c.misses() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, amqpTimeout)
	err := c.cfg.Conn.Do(limited, c.cfg.Declare)
	cancel()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.cfg.Logger.Error("what is missing in the broker can't be declared", "error", err)
		return
	}
	// An error means that ctx has ended.
	_ = c.check(ctx, 0)
}

func (c *Checker) misses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.checked {
		if (f.Check == checkExists || f.Check == checkBound) && f.Severity >= warning {
			return true
		}
	}
	return false
}

// Check checks now and says what was found, the last self-test's finding
// included. Callers at the same time share a check, and so do those within a
// second. It fails only when ctx ends.
func (c *Checker) Check(ctx context.Context) (*adminv1.CheckTopologyResponse, error) {
	if err := c.check(ctx, freshness); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &adminv1.CheckTopologyResponse{Findings: c.all(), CheckTime: timestamppb.New(c.checkTime)}
	r.Severity = r.Findings[0].Severity
	if !c.triedTime.IsZero() {
		r.SelfTestTime = timestamppb.New(c.triedTime)
	}
	return r, nil
}

// Healthy fails, naming them, while there are findings by which tasks can be
// lost. What has not been checked yet, or can't be, counts as healthy.
func (c *Checker) Healthy(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, f := range c.all() {
		if f.Severity == adminv1.Severity_SEVERITY_LOSS {
			errs = append(errs, fmt.Errorf("%s, %s: wanted %s, found %s", f.Subject, f.Check, f.Wanted, f.Found))
		}
	}
	return errors.Join(errs...)
}

// check checks, unless somebody has within the time given.
func (c *Checker) check(ctx context.Context, within time.Duration) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	recent := !c.checkTime.IsZero() && time.Since(c.checkTime) < within
	before := c.checked
	c.mu.Unlock()
	if recent {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found := c.examine(limited, before)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked, c.checkTime = found, time.Now()
	c.report()
	return nil
}

// examine looks at everything there is to check.
func (c *Checker) examine(ctx context.Context, before []*adminv1.TopologyFinding) []*adminv1.TopologyFinding {
	// A type is known only after its queue was declared.
	var types []string
	for _, t := range c.cfg.Catalogue.Types() {
		types = append(types, t.Name)
	}
	if c.cfg.Management == nil {
		return c.overAMQPOnly(ctx, types, before, "none", "Start the gateway with --management-url to have this checked.")
	}
	v, err := look(ctx, c.cfg.Management, c.names)
	if err != nil {
		return c.overAMQPOnly(ctx, types, before, err.Error(), "Mend the management API at "+c.cfg.Management.String()+", or --management-url.")
	}
	j := &judge{names: c.names, view: v, vhost: c.cfg.Management.VHost()}
	j.unseen = c.overlooked(ctx, v, types)
	j.judge(types)
	j.deadLetters(c.stuckFor(v, time.Now()))
	return j.findings
}

// stuckFor notes which queues have dead letters that nobody has taken yet, and
// says for how long at least.
func (c *Checker) stuckFor(v *view, now time.Time) map[string]time.Duration {
	since, durations := map[string]time.Time{}, map[string]time.Duration{}
	for name := range v.deadLetters {
		since[name] = now
		if t, ok := c.stuck[name]; ok {
			since[name] = t
		}
		durations[name] = now.Sub(since[name])
	}
	c.stuck = since
	return durations
}
