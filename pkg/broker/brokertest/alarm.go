//go:build unix

package brokertest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// Alarm sets off the node's memory alarm, so that the broker blocks every connection that publishes, and returns a
// function that ends the alarm, which happens after the test at the latest. The alarm of one node blocks publishers on all
// nodes of its cluster, and on all virtual hosts: use a node of your own.
func Alarm(t testing.TB, node *rabbitnode.Node) (end func()) {
	t.Helper()
	// One call each, since each takes a second: read the limit and set another.
	before := eval(t, node, "V = vm_memory_monitor:get_vm_memory_high_watermark(), "+
		"ok = vm_memory_monitor:set_vm_memory_high_watermark(0.0), V.")
	ended := false
	end = func() {
		if !ended && node.Pid() != 0 {
			eval(t, node, fmt.Sprintf("vm_memory_monitor:set_vm_memory_high_watermark(%s).", strings.TrimSpace(before)))
		}
		ended = true
	}
	t.Cleanup(end)
	return end
}

func eval(t testing.TB, node *rabbitnode.Node, expression string) string {
	t.Helper()
	// rabbitmqctl starts an Erlang node of its own for each call, which takes a second on an idle machine.
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	out, err := node.Ctl(ctx, "eval", expression)
	if err != nil {
		t.Fatalf("brokertest: evaluating %s: %v", expression, err)
	}
	return out
}
