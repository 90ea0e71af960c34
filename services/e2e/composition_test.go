package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// composition stands for the containers of docker-compose.yml: each service has a
// loopback address of its own in place of its name and of its container's
// addresses, so that all ports are as they are there.
type composition struct {
	hosts map[string]string
	// amqp and management are the broker's in place of the service rabbitmq's.
	amqp, management string
	// data is in place of the volumes.
	data string
}

func newComposition(t testing.TB, file composeFile) *composition {
	b := brokertest.VHost(t)
	c := &composition{hosts: map[string]string{}, data: t.TempDir(), amqp: b.URL, management: brokertest.Shared(t).ManagementURL()}
	network := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
	for name := range file.ours() {
		c.hosts[name] = network + fmt.Sprint(len(c.hosts)+1)
	}
	return c
}

var (
	composeAMQP       = regexp.MustCompile(`amqp://\S+@rabbitmq:5672/`)
	composeManagement = regexp.MustCompile(`http://\S+@rabbitmq:15672`)
)

// translate puts addresses in place of names.
func (c *composition) translate(service, text string) string {
	for _, own := range []string{"0.0.0.0:", "127.0.0.1:"} {
		text = strings.ReplaceAll(text, own, c.hosts[service]+":")
	}
	for name, host := range c.hosts {
		text = regexp.MustCompile(`\b`+name+`:(\d+)`).ReplaceAllString(text, host+":$1")
	}
	text = strings.ReplaceAll(text, "sqlite:/data/", "sqlite:"+c.data+"/")
	text = composeAMQP.ReplaceAllLiteralString(text, c.amqp)
	return composeManagement.ReplaceAllLiteralString(text, c.management)
}

// start runs a service's command as its container would.
func (c *composition) start(t testing.TB, name string, s composeService) {
	t.Helper()
	var args []string
	for _, arg := range s.Command {
		args = append(args, c.translate(name, arg))
	}
	startProcess(t, name, nil, composeBinary(t, s), args...)
}

// awaitHealthy waits until the service's own health check finds it well.
func (c *composition) awaitHealthy(t testing.TB, name string, s composeService, within time.Duration) {
	t.Helper()
	brokertest.Eventually(t, within, func() error {
		out, err := exec.CommandContext(t.Context(), healthcheckBinary, c.translate(name, s.Healthcheck.Test[2])).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	})
}

func (c *composition) dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// checkTaskWorks submits to the gateway what the demo service carries out, and
// asks the dead-letter service for what it could not.
func (c *composition) checkTaskWorks(t *testing.T) {
	t.Helper()
	p := &platform{tasks: taskv1.NewTaskServiceClient(c.dial(t, c.hosts["gateway"]+":7070"))}
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeFail)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, p.submit(t, typeDelay, delay(0)).TaskId).State)
	dead := p.await(t, p.submit(t, typeFail, &demov1.FailRequest{Code: 5, Message: "no such thing"}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, dead.State)
	letters := deadletterv1.NewDeadLetterServiceClient(c.dial(t, c.hosts["deadletter"]+":7071"))
	brokertest.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := letters.GetDeadLetter(ctx, &deadletterv1.GetDeadLetterRequest{DeadLetterId: dead.TaskId})
		return err
	})
}
