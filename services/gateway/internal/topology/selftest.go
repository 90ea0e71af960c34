package topology

import (
	"context"
	"errors"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	subjectSettlements = "settlements"
	wantedSettlements  = "modified, released and accepted do what retries are built on"
)

// untried is what is known of settlements at first.
func untried() *adminv1.TopologyFinding {
	return &adminv1.TopologyFinding{
		Severity: unverified, Subject: subjectSettlements, Check: checkSelfTest, Wanted: wantedSettlements,
		Found: "not tried out yet", Problem: "The gateway tries it out as soon as the broker lets it, and then once an hour.",
	}
}

// selfTestDue says that an hour has passed, to the nearest check, or that no
// self-test could be carried out yet.
func (c *Checker) selfTestDue(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.triedTime.IsZero() || now.Sub(c.triedTime) > selfTestPeriod-period/2
}

// tryOut carries a self-test out. One that fails is repeated at once: a busy
// broker may be late, once.
func (c *Checker) tryOut(ctx context.Context) {
	var misbehaves *broker.SettlementError
	err := c.selfTest(ctx, c.cfg.Broker, task.NewID())
	if errors.As(err, &misbehaves) {
		err = c.selfTest(ctx, c.cfg.Broker, task.NewID())
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil && !errors.As(err, &misbehaves) {
		// What is known from before stands.
		c.cfg.Logger.Warn("the settlements that retries are built on can't be tried out now, trying again in a minute", "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried, c.triedTime = settlements(err), time.Now()
	c.report()
}

func settlements(err error) *adminv1.TopologyFinding {
	f := &adminv1.TopologyFinding{
		Severity: good, Subject: subjectSettlements, Check: checkSelfTest, Wanted: wantedSettlements, Found: "they do",
	}
	var misbehaves *broker.SettlementError
	if !errors.As(err, &misbehaves) {
		return f
	}
	f.Severity, f.Wanted, f.Found = loss, misbehaves.Settlement+": "+misbehaves.Wanted, misbehaves.Found
	f.Problem = "Retries and dead letters do not work as they must in this RabbitMQ. Go back to a version that Warren is known to work with."
	if misbehaves.Timing {
		f.Severity = warning
		f.Problem = "Retries and drained tasks come at the wrong time. Compare the clocks of the broker's nodes and the gateway's, " +
			"and look for a policy that sets delayed-retry-type: rabbitmqctl list_policies."
	}
	return f
}
