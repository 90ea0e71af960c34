package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// judge judges what the management API shows.
type judge struct {
	names broker.Names
	view  *view
	// vhost is where commands are to work.
	vhost string
	// unseen are the subjects that are there and not shown.
	unseen   map[string]bool
	findings []*adminv1.TopologyFinding
}

// judge judges everything. What is in order of a subject is one finding.
func (j *judge) judge(types []string) {
	for _, t := range things(j.names, types) {
		switch {
		case j.unseen[t.subject]:
		case !j.view.shows(t):
			f := &adminv1.TopologyFinding{Subject: t.subject}
			t.describeMissing(f)
			j.findings = append(j.findings, f)
		default:
			j.judgeThing(t)
		}
	}
	if len(j.unseen) > 0 {
		j.add(unverified, "management API", checkManagement, "it shows what is in the broker",
			"it does not show "+some(slices.Sorted(maps.Keys(j.unseen))),
			"It is late, or that of another broker or virtual host; or the broker is not connected. Compare --management-url and --amqp-url.")
	}
	j.broker()
	j.cluster()
}

func (j *judge) judgeThing(t thing) {
	before := len(j.findings)
	if t.queue != nil {
		j.bound(t)
		j.arguments(t)
		j.queue(t.subject, inForce{j.view.queues[t.queue.Name]})
	} else {
		j.exchange(t)
	}
	if len(j.findings) == before {
		j.add(good, t.subject, checkAll, "as the promises need it", "as wanted", "")
	}
}

func (j *judge) add(severity adminv1.Severity, subject, check, wanted, found, problem string) {
	j.findings = append(j.findings, &adminv1.TopologyFinding{
		Severity: severity, Subject: subject, Check: check, Wanted: wanted, Found: found, Problem: problem,
	})
}

// remedy is what to do about a setting of a queue.
func (j *judge) remedy(q inForce, setting string) string {
	if _, policy := q.both(setting); policy == nil {
		return fmt.Sprintf("The queue has it by its own arguments: delete it once it is empty, rabbitmqctl -p %s delete_queue %s --if-empty; "+
			"the gateway declares it anew.", quote(j.vhost), quote(q.Name))
	}
	var ways []string
	if q.Policy != "" {
		ways = append(ways, fmt.Sprintf("the policy %s (rabbitmqctl -p %s clear_policy %s)", q.Policy, quote(j.vhost), quote(q.Policy)))
	}
	if q.OperatorPolicy != "" {
		ways = append(ways, fmt.Sprintf("the operator policy %s (rabbitmqctl -p %s clear_operator_policy %s)",
			q.OperatorPolicy, quote(j.vhost), quote(q.OperatorPolicy)))
	}
	return fmt.Sprintf("Remove %s, or have it not match this queue or not set %s.", strings.Join(ways, " or "), setting)
}

// quote quotes for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// some names a few of many.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
