package topology

import (
	"fmt"
	"slices"

	"github.com/warrenmq/warren/pkg/broker/management"
)

// exchange judges an exchange that is there, and what else is bound to it.
func (j *judge) exchange(t thing) {
	x := j.view.exchanges[t.exchange.Name]
	if x.Type != t.exchange.Kind || !x.Durable {
		j.add(t.missing, t.subject, "type", kindOf(t.exchange.Kind, true), kindOf(x.Type, x.Durable),
			"Messages are routed otherwise than the gateway means. Delete it; the gateway declares it anew, with its bindings.")
	}
	switch x.Name {
	case j.names.Tasks(), j.names.Status():
		j.foreign(t)
		j.alternate(t, x)
	}
}

func kindOf(kind string, durable bool) string {
	if durable {
		return kind + ", durable"
	}
	return kind + ", transient"
}

// bound judges whether a queue is bound to its exchange.
func (j *judge) bound(t thing) {
	q := t.queue
	if _, shown := j.view.exchanges[q.Exchange]; !shown || slices.Contains(j.view.bindings[q.Exchange], management.Binding{
		Destination: q.Name, DestinationType: "queue", RoutingKey: q.Key,
	}) {
		return
	}
	problem := "Nothing reaches the queue."
	switch q.Name {
	case j.names.Dead():
		problem = "Dead letters are lost to Warren if another queue takes them, else they wait in their work queues."
	case j.names.Status():
		problem = "No status event is accepted: tasks end, and nobody knows."
	}
	j.add(t.missing, t.subject, checkBound, fmt.Sprintf("to the exchange %s by the key %s", q.Exchange, q.Key), "it is not",
		problem+" The gateway binds it again within a minute, or when it is started again.")
}

// foreign judges what is bound to an exchange that nothing else may be bound to:
// mandatory finds a message that reaches no queue of ours only then.
func (j *judge) foreign(t thing) {
	var foreign []string
	for _, b := range j.view.bindings[t.exchange.Name] {
		ours := j.names.Work(b.RoutingKey)
		if t.exchange.Name == j.names.Status() {
			ours = j.names.Status()
		}
		if b.DestinationType != "queue" || b.Destination != ours {
			foreign = append(foreign, fmt.Sprintf("%s %s by the key %q", b.DestinationType, b.Destination, b.RoutingKey))
		}
	}
	if len(foreign) == 0 {
		return
	}
	slices.Sort(foreign)
	j.add(loss, t.subject, checkBindings, "nothing else is bound to it", some(foreign),
		"A message that reaches no queue of Warren's counts as accepted when it reaches another one. Unbind it; "+
			"to read along, bind a queue to "+j.names.Dead()+", or watch tasks at the gateway.")
}

// alternate is for an exchange of ours that has another one behind it.
func (j *judge) alternate(t thing, x management.Exchange) {
	found, remedy := text(x.Arguments[settingAlternate]), "Delete the exchange; the gateway declares it anew, with its bindings."
	if byPolicy := text(j.view.policies[x.Policy][settingAlternate]); byPolicy != "" {
		found = byPolicy
		remedy = fmt.Sprintf("Remove the policy %s (rabbitmqctl -p %s clear_policy %s), or have it not match this exchange.",
			x.Policy, quote(j.vhost), quote(x.Policy))
	}
	if found != "" {
		j.add(loss, t.subject, settingAlternate, "none", found,
			"A message that reaches no queue of Warren's goes there and counts as accepted. "+remedy)
	}
}
