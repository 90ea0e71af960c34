//go:build unix

package rabbitnode_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// parentEnv makes this test binary a parent that starts a node and waits to be killed.
const parentEnv = "RABBITNODE_TEST_PARENT"

func TestMain(m *testing.M) {
	if how := os.Getenv(parentEnv); how != "" {
		if err := beParent(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// beParent prints the node's data folder and ports in a line, and then waits until standard input ends, which is never.
func beParent(how string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	install, err := rabbitnode.Find(ctx, nil)
	if err != nil {
		return err
	}
	node, err := install.Start(ctx, rabbitnode.NodeConfig{})
	if err != nil {
		return err
	}
	if how == "paused" {
		if err := node.Pause(); err != nil {
			return err
		}
	}
	fmt.Println(node.Dir(), node.LoopbackPorts())
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}
