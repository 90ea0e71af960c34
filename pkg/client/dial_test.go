package client_test

import (
	"crypto/tls"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/client"
)

func TestPlainTextGoesToThisMachineOnly(t *testing.T) {
	t.Parallel()
	secured := grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}))
	cases := map[string]struct {
		opts []grpc.DialOption
		ok   bool
	}{
		"":                          {nil, true},
		"127.0.0.1:7070":            {nil, true},
		"[::1]:7070":                {nil, true},
		"localhost:7070":            {nil, true},
		"dns:///localhost:7070":     {nil, true},
		"passthrough:///127.0.0.1":  {nil, true},
		"unix:/tmp/gateway.sock":    {nil, true},
		"unix-abstract:gateway":     {nil, true},
		"gateway.example:7070":      {nil, false},
		"192.0.2.1:7070":            {nil, false},
		"dns://localhost/gateway:1": {nil, false},
		"dns:///gateway.example":    {[]grpc.DialOption{secured}, true},
		"gateway.example:7071":      {[]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, true},
		"localhost:1":               {[]grpc.DialOption{secured}, true},
		"localhost:2":               {[]grpc.DialOption{grpc.WithDefaultServiceConfig("{")}, false},
	}
	for target, want := range cases {
		c, err := client.New(target, want.opts...)
		require.Equal(t, want.ok, err == nil, "%q: %v", target, err)
		if err == nil {
			require.NoError(t, c.Close())
		} else {
			require.ErrorContains(t, err, target)
		}
	}
}

// The service config calls again what only reads, and cancelling, which changes nothing
// the second time; no watches, whose callers go on by themselves, and nothing else.
func TestServiceConfigCallsAgainWhatReads(t *testing.T) {
	t.Parallel()
	var config struct {
		MethodConfig []struct {
			Name []struct{ Service, Method string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(client.ServiceConfig), &config))
	var got, want []string
	for _, m := range config.MethodConfig {
		for _, n := range m.Name {
			require.NotEmpty(t, n.Method)
			got = append(got, n.Service+"/"+n.Method)
		}
	}
	for _, s := range []grpc.ServiceDesc{taskv1.TaskService_ServiceDesc, adminv1.AdminService_ServiceDesc, deadletterv1.DeadLetterService_ServiceDesc} {
		for _, m := range s.Methods {
			if reads(m.MethodName) || m.MethodName == "CancelTask" {
				want = append(want, s.ServiceName+"/"+m.MethodName)
			}
		}
	}
	require.ElementsMatch(t, want, got)
}

func reads(method string) bool {
	for _, verb := range []string{"Get", "BatchGet", "List", "Aggregate", "Wait", "Explain", "Check"} {
		if strings.HasPrefix(method, verb) {
			return true
		}
	}
	return false
}

func TestServiceConfigIsApplied(t *testing.T) {
	t.Parallel()
	h := hooks{
		read: func(n int) error {
			if n < 3 {
				return status.Error(codes.Unavailable, "not yet")
			}
			return nil
		},
		refuse: func(int) error { return status.Error(codes.Unavailable, "not yet") },
	}
	ctx, g, c := begin(t, h)
	_, err := c.Task(ctx, unknownID)
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, 3, g.waits)
	_, err = taskv1.NewTaskServiceClient(c).SubmitTask(ctx, &taskv1.SubmitTaskRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	asked, _ := g.requests()
	require.Len(t, asked, 1)

	// An option replaces it.
	ctx, g, c = begin(t, h, grpc.WithDefaultServiceConfig(`{}`))
	_, err = c.Task(ctx, unknownID)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, 1, g.waits)
}
