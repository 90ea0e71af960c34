package topology

import (
	"context"
	"errors"
	"fmt"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// thing is an exchange or queue that is to be there.
type thing struct {
	// subject is how findings call it.
	subject string
	// exchange or queue is how it is declared, the other one is nil.
	exchange *broker.ExchangeSpec
	queue    *broker.QueueSpec
	// missing is how grave it is when it is not there, or is something else.
	missing adminv1.Severity
}

// things are all exchanges and queues that are to be there.
func things(names broker.Names, types []string) []thing {
	// Without one of these, what is published or dies is lost, or nothing works.
	vital := map[string]bool{names.Dead(): true, names.Status(): true, names.Tasks(): true}
	severity := func(name string) adminv1.Severity {
		if vital[name] {
			return loss
		}
		return warning
	}
	var all []thing
	for _, x := range names.SharedExchanges() {
		all = append(all, thing{"exchange " + x.Name, &x, nil, severity(x.Name)})
	}
	queues := names.SharedQueues()
	for _, t := range types {
		queues = append(queues, names.WorkQueue(t))
	}
	for _, q := range queues {
		all = append(all, thing{"queue " + q.Name, nil, &q, severity(q.Name)})
	}
	return all
}

func (t thing) check(topology *broker.Topology) error {
	if t.queue != nil {
		return topology.CheckQueue(*t.queue)
	}
	return topology.CheckExchange(*t.exchange)
}

// overAMQPOnly is what can be said without the management API, and why no more.
func (c *Checker) overAMQPOnly(ctx context.Context, types []string, before []*adminv1.TopologyFinding, why, problem string) []*adminv1.TopologyFinding {
	var found []*adminv1.TopologyFinding
	err := c.eachOverAMQP(ctx, things(c.names, types), func(t thing, err error) { found = append(found, t.judge(err)) })
	if err != nil {
		found = append(found, &adminv1.TopologyFinding{
			Severity: unverified, Subject: "broker", Check: checkConnection, Wanted: "a connection to check over",
			Found: err.Error(), Problem: "What is declared can't be seen until the broker is connected.",
		})
	}
	found = append(found, unseen(why, problem)...)
	return append(found, held(before, found)...)
}

// judge says what the outcome of a thing's check means. AMQP shows that it is
// there with the right arguments, and no more.
func (t thing) judge(err error) *adminv1.TopologyFinding {
	f := &adminv1.TopologyFinding{Severity: good, Subject: t.subject, Check: checkArguments, Wanted: "as the gateway declares it", Found: "as wanted"}
	switch {
	case errors.Is(err, broker.ErrMissing):
		t.describeMissing(f)
	case err != nil:
		f.Severity, f.Found = t.missing, err.Error()
		f.Problem = "The gateway can't declare it: nothing that needs it works. Delete it once it is empty; the gateway declares it anew."
	}
	return f
}

func (t thing) describeMissing(f *adminv1.TopologyFinding) {
	f.Severity, f.Check, f.Wanted, f.Found = t.missing, checkExists, "it exists", "it does not exist"
	f.Problem = "Somebody has deleted it; what was in it is gone. The gateway declares it anew within a minute, or when it is started again."
}

// eachOverAMQP checks things one by one and says how each went: nil,
// broker.ErrMissing or broker.ErrConflict. Any other error ends it.
func (c *Checker) eachOverAMQP(ctx context.Context, all []thing, say func(thing, error)) error {
	ctx, cancel := context.WithTimeout(ctx, amqpTimeout)
	defer cancel()
	for len(all) > 0 {
		// RabbitMQ closes the channel with the first error.
		passed := make(chan int, 1)
		err := c.cfg.Conn.Do(ctx, func(t *broker.Topology) error {
			n, err := checkUntilError(t, all)
			passed <- n
			return err
		})
		if err != nil && !errors.Is(err, broker.ErrMissing) && !errors.Is(err, broker.ErrConflict) {
			return fmt.Errorf("check over AMQP: %w", err)
		}
		n := <-passed
		for _, t := range all[:n] {
			say(t, nil)
		}
		if err == nil {
			return nil
		}
		say(all[n], err)
		all = all[n+1:]
	}
	return nil
}

// checkUntilError says how many have passed.
func checkUntilError(t *broker.Topology, all []thing) (int, error) {
	for i, x := range all {
		if err := x.check(t); err != nil {
			return i, err
		}
	}
	return len(all), nil
}

// overlooked are the things that are there and that the management API does not
// show, by subject: it is late, or that of another broker. What can't be asked
// for counts as such.
func (c *Checker) overlooked(ctx context.Context, v *view, types []string) map[string]bool {
	var missing []thing
	absent := map[string]bool{}
	for _, t := range things(c.names, types) {
		if !v.shows(t) {
			missing, absent[t.subject] = append(missing, t), true
		}
	}
	// An error leaves what was not asked for in doubt.
	_ = c.eachOverAMQP(ctx, missing, func(t thing, err error) {
		if errors.Is(err, broker.ErrMissing) {
			delete(absent, t.subject)
		}
	})
	return absent
}

func (v *view) shows(t thing) bool {
	var shown bool
	if t.queue != nil {
		_, shown = v.queues[t.queue.Name]
	} else {
		_, shown = v.exchanges[t.exchange.Name]
	}
	return shown
}
