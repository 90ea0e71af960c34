package topology

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
)

// Severities, for short.
const (
	good       = adminv1.Severity_SEVERITY_OK
	unverified = adminv1.Severity_SEVERITY_UNVERIFIED
	warning    = adminv1.Severity_SEVERITY_WARNING
	loss       = adminv1.Severity_SEVERITY_LOSS
)

// Names of checks that are not settings of RabbitMQ.
const (
	// checkAll stands for all that there is to check of a subject.
	checkAll        = "all"
	checkExists     = "exists"
	checkBound      = "bound"
	checkArguments  = "arguments"
	checkPolicies   = "policies"
	checkBindings   = "bindings"
	checkManagement = "management"
	checkConnection = "connection"
	checkSelfTest   = "self-test"
)

// findingKey is what makes two findings, of two checks, one.
type findingKey struct {
	severity       adminv1.Severity
	subject, check string
}

func keyOf(f *adminv1.TopologyFinding) findingKey { return findingKey{f.Severity, f.Subject, f.Check} }

// all are the last check's and the last self-test's findings, the gravest
// first. The caller holds c.mu.
func (c *Checker) all() []*adminv1.TopologyFinding {
	all := append(slices.Clone(c.checked), c.tried)
	slices.SortStableFunc(all, func(a, b *adminv1.TopologyFinding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Check, b.Check))
	})
	return all
}

// report counts the findings, and logs those that are new or gone. The caller
// holds c.mu.
func (c *Checker) report() {
	counts := map[adminv1.Severity]int64{good: 0, unverified: 0, warning: 0, loss: 0}
	present := map[findingKey]bool{}
	for _, f := range c.all() {
		counts[f.Severity]++
		if f.Severity < warning {
			continue
		}
		if k := keyOf(f); !present[k] {
			present[k] = true
			c.log(f, !c.reported[k])
		}
	}
	for k := range c.reported {
		if !present[k] {
			c.cfg.Logger.Info("a finding in the broker's topology is gone", "subject", k.subject, "check", k.check)
		}
	}
	c.reported = present
	for severity, n := range counts {
		c.gauge.Record(context.Background(), n, metric.WithAttributes(attribute.String("severity", severityName(severity))))
	}
}

func (c *Checker) log(f *adminv1.TopologyFinding, isNew bool) {
	if !isNew {
		return
	}
	level, text := slog.LevelWarn, "the broker's topology is not as it should be"
	if f.Severity == loss {
		level, text = slog.LevelError, "the broker's topology can lose tasks"
	}
	c.cfg.Logger.Log(context.Background(), level, text,
		"subject", f.Subject, "check", f.Check, "wanted", f.Wanted, "found", f.Found, "problem", f.Problem)
}

func severityName(s adminv1.Severity) string {
	switch s {
	case good:
		return "ok"
	case unverified:
		return "unverified"
	case warning:
		return "warning"
	case loss:
		return "loss"
	}
	return "unspecified"
}

// unseen are the findings for what only the management API shows.
func unseen(found, problem string) []*adminv1.TopologyFinding {
	var all []*adminv1.TopologyFinding
	for _, u := range []struct{ subject, check, wanted string }{
		{"queues", checkPolicies, "no policy changes what the promises need"},
		{"exchanges", checkBindings, "each queue is bound, and nothing else where it does harm"},
		{"cluster", checkAll, "no alarm, every queue on three nodes or more, dead letters on their way"},
	} {
		all = append(all, &adminv1.TopologyFinding{
			Severity: unverified, Subject: u.subject, Check: u.check, Wanted: u.wanted, Found: "management API: " + found, Problem: problem,
		})
	}
	return all
}

// held are the grave findings of the check before that this one can't see to be
// gone. Over AMQP alone, that is all but what AMQP shows.
func held(before, now []*adminv1.TopologyFinding) []*adminv1.TopologyFinding {
	known, blind := map[findingKey]bool{}, false
	for _, f := range now {
		known[keyOf(f)] = true
		blind = blind || f.Check == checkConnection
	}
	var all []*adminv1.TopologyFinding
	for _, f := range before {
		overAMQP := f.Check == checkExists || f.Check == checkArguments
		if f.Severity >= warning && !known[keyOf(f)] && (blind || !overAMQP) {
			all = append(all, f)
		}
	}
	return all
}
