package topology

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const subjectCluster = "cluster"

// Versions of RabbitMQ: before the first one, dead-lettering at least once could
// stick for good; from the second one on, more is mended.
const (
	minVersion  = "4.3.3"
	goodVersion = "4.3.5"
)

// minReplicas of a queue is what a lost node leaves a majority of.
const minReplicas = 3

// stuckAfter is for how long dead letters may be on their way.
const stuckAfter = 2 * time.Minute

// broker judges the broker's version.
func (j *judge) broker() {
	v := j.view.overview.Version
	severity, problem := good, ""
	switch {
	case olderThan(v, minVersion):
		severity, problem = loss, "Dead letters can stay in their work queue for good. Upgrade RabbitMQ."
	case olderThan(v, goodVersion):
		severity, problem = warning, "RabbitMQ has mended quorum queues since. Upgrade it."
	}
	j.add(severity, "broker", "version", goodVersion+" or later", v, problem)
	if j.view.overview.StatisticsOff {
		j.add(unverified, subjectCluster, "dead-letters", "on their way", "the management API shows no statistics",
			"Set management_agent.disable_metrics_collector to false, or watch the dead letters of quorum queues by Prometheus.")
	}
}

// olderThan compares major.minor.patch. What it can't read is old.
func olderThan(version, than string) bool {
	version, _, _ = strings.Cut(version, "-")
	version, _, _ = strings.Cut(version, "+")
	have, want := strings.Split(version, "."), strings.Split(than, ".")
	for i := range want {
		if i >= len(have) {
			return true
		}
		h, err := strconv.Atoi(have[i])
		w, _ := strconv.Atoi(want[i])
		if err != nil || h != w {
			return err != nil || h < w
		}
	}
	return false
}

// cluster judges the nodes, and whether queues have enough of them.
func (j *judge) cluster() {
	nodes := j.view.nodes
	if len(nodes) == 0 {
		j.add(unverified, subjectCluster, checkAll, "no alarm, every queue on three nodes or more", "the user of --management-url may not see the nodes",
			"Give it the tag monitoring: rabbitmqctl set_user_tags USER monitoring.")
		return
	}
	before := len(j.findings)
	for _, alarm := range []struct {
		name, problem string
		nodes         []string
	}{
		{"memory-alarm", "The cluster accepts no messages until the node has memory again: submissions fail.", nil},
		{"disk-alarm", "The cluster accepts no messages until the node has disk space again: submissions fail.", nil},
	} {
		for _, n := range nodes {
			if n.MemoryAlarm && alarm.name == "memory-alarm" || n.DiskAlarm && alarm.name == "disk-alarm" {
				alarm.nodes = append(alarm.nodes, n.Name)
			}
		}
		if len(alarm.nodes) > 0 {
			j.add(warning, subjectCluster, alarm.name, "none", some(alarm.nodes), alarm.problem)
		}
	}
	j.replicas(len(nodes))
	if len(j.findings) == before {
		j.add(good, subjectCluster, checkAll, "no alarm, every queue on enough nodes", fmt.Sprintf("%d nodes, as wanted", len(nodes)), "")
	}
}

func (j *judge) replicas(nodes int) {
	var few []string
	for name, q := range j.view.queues {
		if q.Type == "quorum" && len(q.Members) < minReplicas {
			few = append(few, name)
		}
	}
	if nodes < minReplicas || len(few) == 0 {
		return
	}
	slices.Sort(few)
	j.add(warning, "queues", "members", fmt.Sprintf("%d nodes or more for each queue", minReplicas), "fewer for "+some(few),
		"Tasks in them are gone, or wait, with a lost node. On each node that is to have them: rabbitmq-queues grow NODE all.")
}

// deadLetters judges those that are not taken, by their queues.
func (j *judge) deadLetters(stuck map[string]time.Duration) {
	for _, name := range slices.Sorted(maps.Keys(stuck)) {
		if stuck[name] < stuckAfter {
			continue
		}
		j.add(warning, "queue "+name, "dead-letters", "on their way",
			fmt.Sprintf("%d, and some at each check for %s", j.view.deadLetters[name], stuck[name].Round(time.Second)),
			"Dead letters wait in their work queue, because a queue that is bound to "+j.names.Dead()+" does not take them. "+
				"Look for a limit on such a queue, or for one without a leader; RabbitMQ tries again every three minutes.")
	}
}
