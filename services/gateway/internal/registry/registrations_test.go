package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// stuck is a topology that declares nothing until it may.
type stuck struct {
	asked chan struct{}
	may   chan struct{}
}

func (s *stuck) Do(ctx context.Context, _ func(*broker.Topology) error) error {
	s.asked <- struct{}{}
	select {
	case <-s.may:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func requestOf(t testing.TB, workerID, requestID string, a catalogue.Announcement) broker.Delivery {
	t.Helper()
	return encode(t, &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: workerID}, RequestId: requestID,
		Request: &brokerv1.WorkerRequest_Registration{Registration: &brokerv1.Registration{Services: a.Services, Files: a.Files}},
	})
}

// stuckFixture is one whose Run has its registrations stuck.
func stuckFixture(t testing.TB, s *outage) (*fixture, *stuck) {
	t.Helper()
	f, queues := newFixture(t, s), &stuck{asked: make(chan struct{}, 1000), may: make(chan struct{})}
	f.cfg.Topology = queues
	f.loaded = true // or Run would be stuck as well
	f.run(t)
	return f, queues
}

func TestRegistrationsHoldNothingUp(t *testing.T) {
	s := newStore(t)
	a := acme(t, "1")
	synctest.Test(t, func(t *testing.T) {
		f, queues := stuckFixture(t, s)
		handle := func(batch ...broker.Delivery) {
			require.NoError(t, f.Requests().Handle(t.Context(), batch))
			synctest.Wait()
		}
		for i := range 10 {
			handle(requestOf(t, fmt.Sprint("w-", i), "r", a))
		}
		require.Len(t, queues.asked, maxRegistering)
		handle(start(t, "w", "r"))
		require.Len(t, f.starts.requests, 1)

		// Repeated ones are not done twice, whether they wait or not.
		handle(requestOf(t, "w-0", "r", a), requestOf(t, "w-9", "r", a), requestOf(t, "w-9", "another", a))
		require.Len(t, f.registrations, 10-maxRegistering+1)
		for i := range 2 * maxRegistrations {
			handle(requestOf(t, fmt.Sprint("v-", i), "r", a))
		}
		require.Len(t, f.registrations, maxRegistrations)

		close(queues.may)
		synctest.Wait()
		require.Len(t, f.told.messages, maxRegistering+maxRegistrations)
		require.Empty(t, f.registering)
		handle(requestOf(t, "w-0", "r", a))
		require.Len(t, f.told.messages, maxRegistering+maxRegistrations+1, "it was not told")
	})
}

func TestRegistrationsEndWithRun(t *testing.T) {
	s := newStore(t)
	a := acme(t, "1")
	synctest.Test(t, func(t *testing.T) {
		f, queues := stuckFixture(t, s)
		require.NoError(t, f.Requests().Handle(t.Context(), []broker.Delivery{requestOf(t, "w", "r", a)}))
		synctest.Wait()
		require.Len(t, queues.asked, 1)
	})
	// The bubble ends only without goroutines.
}

func TestARegistrationThatFailsIsLoggedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	var log bytes.Buffer
	f.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f.topology.err = errors.New("no connection")
	f.request(t, request(t, acme(t, "1")))
	require.Equal(t, 1, strings.Count(log.String(), "no connection"))
	require.Contains(t, log.String(), "worker_id=w-1")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, f.Requests().Handle(t.Context(), []broker.Delivery{request(t, acme(t, "1"))}))
	f.serveRegistration(ended, <-f.registrations)
	require.Equal(t, 1, strings.Count(log.String(), "no connection"), "that it stops is no trouble")
}
