package client_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/client"
)

func TestDurableCallsThatAreMadeAgain(t *testing.T) {
	t.Parallel()
	key, late := client.WithIdempotencyKey("k"), client.LateHeaders()
	first := func(err error) func(int) error {
		return func(n int) error {
			if n == 1 {
				return err
			}
			return nil
		}
	}
	always := func(err error) func(int) error { return func(int) error { return err } }
	notSubmitted := reason(codes.Unavailable, "NOT_SUBMITTED", "")
	stopping := reason(codes.Unavailable, "SHUTTING_DOWN", "7")
	cases := map[string]struct {
		hooks hooks
		opts  []grpc.CallOption
		code  codes.Code
		calls int
		tasks int
	}{
		"not submitted":                          {hooks{refuse: first(notSubmitted)}, nil, codes.OK, 2, 1},
		"never submitted":                        {hooks{refuse: always(notSubmitted)}, nil, codes.Unavailable, 5, 0},
		"a task that says so":                    {hooks{fail: status.Convert(notSubmitted)}, nil, codes.Unavailable, 1, 1},
		"a task that says so late":               {hooks{fail: status.Convert(notSubmitted)}, []grpc.CallOption{late}, codes.Unavailable, 1, 1},
		"a task that says so, with a key":        {hooks{fail: status.Convert(notSubmitted)}, []grpc.CallOption{key}, codes.Unavailable, 1, 1},
		"a task that is unavailable, with a key": {hooks{fail: status.New(codes.Unavailable, "x")}, []grpc.CallOption{key}, codes.Unavailable, 1, 1},
		"stopping":                               {hooks{begun: first(stopping)}, nil, codes.Unavailable, 1, 1},
		"stopping, with a key":                   {hooks{begun: first(stopping)}, []grpc.CallOption{key}, codes.OK, 2, 1},
		"no store, with a key":                   {hooks{refuse: first(reason(codes.Unavailable, "STORE_UNAVAILABLE", ""))}, []grpc.CallOption{key}, codes.OK, 2, 1},
		"unknown":                                {hooks{refuse: first(reason(codes.Unavailable, "SUBMISSION_UNKNOWN", "7"))}, nil, codes.Unavailable, 1, 0},
		"unknown, with a key":                    {hooks{refuse: first(reason(codes.Unavailable, "SUBMISSION_UNKNOWN", "7"))}, []grpc.CallOption{key}, codes.OK, 2, 1},
		"full":                                   {hooks{refuse: first(reason(codes.ResourceExhausted, "QUEUE_FULL", ""))}, []grpc.CallOption{key}, codes.ResourceExhausted, 1, 0},
		"bare":                                   {hooks{refuse: first(status.Error(codes.Unavailable, "a proxy's"))}, nil, codes.Unavailable, 1, 0},
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, g, c := begin(t, want.hooks)
			answer, err := demov1.NewImageServiceClient(c).Thumbnail(ctx, small, want.opts...)
			require.Equal(t, want.code, status.Code(err), "%v", err)
			if err == nil {
				require.Equal(t, small.MaxWidth, answer.Width)
			}
			asked, tasks := g.requests()
			require.Len(t, asked, want.calls)
			require.Len(t, tasks, want.tasks)
		})
	}
}

// A connection is cut at every stage of a call.
func TestCutCalls(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"before the submission", "after it", "after the header"} {
		for _, keyed := range []bool{false, true} {
			t.Run(stage, func(t *testing.T) {
				t.Parallel()
				var g *gateway
				ready := make(chan struct{})
				cut := func(at string, n int) error {
					if <-ready; at == stage && n == 1 {
						g.cut()
					}
					return nil
				}
				ctx, gw, c := begin(t, hooks{
					refuse:   func(n int) error { return cut("before the submission", n) },
					accepted: func(n int, _ string) error { return cut("after it", n) },
					begun:    func(n int) error { return cut("after the header", n) },
				})
				g = gw
				close(ready)
				var opts []grpc.CallOption
				if keyed {
					opts = append(opts, client.WithIdempotencyKey("k"))
				}
				_, err := demov1.NewImageServiceClient(c).Thumbnail(ctx, small, opts...)
				asked, tasks := g.requests()
				if keyed {
					require.NoError(t, err)
					require.Len(t, asked, 2)
				} else {
					require.Equal(t, codes.Unavailable, status.Code(err))
					require.Len(t, asked, 1)
				}
				// One that was cut before is submitted still: here, nobody notices.
				require.Eventually(t, func() bool {
					_, tasks = g.requests()
					return len(tasks) == 1
				}, 10*time.Second, time.Millisecond)
			})
		}
	}
}

func TestJoiningAcrossARestart(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{hold: true})
	told := make(chan string, 1)
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		var id string
		for len(told) == 0 {
			if _, tasks := g.requests(); len(tasks) == 1 {
				id = tasks[0]
				told <- id
			}
		}
		g.restart()
		g.update(id, setWidth(3))
		g.add(id, started, ended(nil))
	}()
	answer, err := demov1.NewImageServiceClient(c).Thumbnail(ctx, small, client.WithIdempotencyKey("k"))
	<-restarted
	require.NoError(t, err)
	require.Equal(t, int32(3), answer.Width)
	_, tasks := g.requests()
	require.Len(t, tasks, 1)
}
