package service

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
	"github.com/warrenmq/warren/services/worker/internal/discovery"
	"github.com/warrenmq/warren/services/worker/internal/target"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

// schemaWith is what is learned of a target with these methods besides.
func schemaWith(t *testing.T, more ...string) *discovery.Schema {
	t.Helper()
	path := filepath.Join(t.TempDir(), "set")
	content, err := proto.Marshal(targettest.Set(more...))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	schema, err := discovery.NewDescriptors(path, nil).Learn(t.Context())
	require.NoError(t, err)
	return schema
}

func methods(v view) int { return len(v.schema.Services[0].Methods) }

func TestATargetThatComesLater(t *testing.T) {
	t.Parallel()
	address := porttest.Address(t)
	w := watch(t, address, quick, nil)
	v := await(t, w.views, "trouble", func(v view) bool { return errors.Is(v.trouble, target.ErrUnreachable) })
	require.Nil(t, v.schema)
	require.ErrorIs(t, w.trouble(), target.ErrUnreachable)
	targettest.Start(t, targettest.Config{Addr: address, Offer: targettest.Files(t)})
	await(t, w.views, "a schema", ready)
	require.NoError(t, w.trouble())
}

func TestATargetWithoutReflection(t *testing.T) {
	t.Parallel()
	server := targettest.Start(t, targettest.Config{})
	w := watch(t, server.Addr, quick, nil)
	v := await(t, w.views, "what to do", func(v view) bool { return errors.Is(v.trouble, discovery.ErrNoReflection) })
	require.ErrorIs(t, v.trouble, errUnlearned)
	server.Stop()
	await(t, w.views, "trouble", func(v view) bool { return errors.Is(v.trouble, target.ErrUnreachable) })
	targettest.Start(t, targettest.Config{Addr: server.Addr, Offer: targettest.Files(t)})
	await(t, w.views, "a schema", ready)
}

func TestATargetThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	files := targettest.Files(t)
	server := targettest.Start(t, targettest.Config{Offer: files})
	w := watch(t, server.Addr, quick, nil)
	first := await(t, w.views, "a schema", ready)

	server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	v := await(t, w.views, "trouble", func(v view) bool { return errors.Is(v.trouble, target.ErrUnreachable) })
	require.ErrorContains(t, v.trouble, "NOT_SERVING")
	require.Same(t, first.schema, v.schema)
	server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	v = await(t, w.views, "no trouble", ready)
	require.Same(t, first.schema, v.schema, "nothing has changed")

	server.Stop()
	await(t, w.views, "trouble", func(v view) bool { return errors.Is(v.trouble, target.ErrUnreachable) })
	targettest.Start(t, targettest.Config{Addr: server.Addr, Offer: targettest.Files(t, "More")})
	v = await(t, w.views, "no trouble", ready)
	require.Equal(t, 4, methods(v), "what it offered before is not offered again")
}

// An outage pauses once, with its reason: not first because a connection is tried.
func TestAnOutageIsToldOnce(t *testing.T) {
	t.Parallel()
	server := targettest.Start(t, targettest.Config{Offer: targettest.Files(t)})
	w := watch(t, server.Addr, quick, nil)
	await(t, w.views, "a schema", ready)
	server.Stop()
	v := next(t, w.views)
	require.ErrorIs(t, v.trouble, target.ErrUnreachable)
	require.ErrorContains(t, v.trouble, "refused")
}

// settling is a target that something happens to once a watcher waits for it to settle.
type settling struct {
	*target.Target

	happen func()
}

// Settle implements observed.
func (s *settling) Settle(ctx context.Context) {
	s.happen()
	s.Target.Settle(ctx)
}

// A server that is back at once may be another one: no task is taken before it was
// asked.
func TestAConnectionThatComesBackIsToldToo(t *testing.T) {
	t.Parallel()
	listener := porttest.Listen(t)
	to, err := target.Dial(target.Config{Names: []string{listener.Addr().String()}})
	require.NoError(t, err)
	defer to.Close()
	late := &settling{to, func() { targettest.Serve(t, listener, targettest.Config{Offer: targettest.Files(t)}) }}
	w := newWatcher(late, discovery.NewReflection(to, nil), quiet())
	w.periods = quick
	to.Connect()
	require.Equal(t, quick.retry, w.look(t.Context()))
	require.True(t, to.Ready(), "it was waited for")
	require.ErrorIs(t, next(t, w.views).trouble, target.ErrConnecting)
	w.look(t.Context())
	require.True(t, ready(next(t, w.views)))
}

// A server that does not answer is told as well, though not why yet.
func TestAnOutageIsToldBeforeItsReasonIsKnown(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	impatient := quick
	impatient.settle = time.Millisecond
	w := watch(t, silent.Addr().String(), impatient, nil)
	require.ErrorIs(t, next(t, w.views).trouble, target.ErrConnecting)
}

// answer is one look's.
type answer struct {
	schema *discovery.Schema
	err    error
}

// asked waits for an answer with each look.
type asked chan answer

func (a asked) Learn(ctx context.Context) (*discovery.Schema, error) {
	select {
	case next := <-a:
		return next.schema, next.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestADifferenceCountsTheSecondTime(t *testing.T) {
	t.Parallel()
	server := targettest.Start(t, targettest.Config{})
	one, two, three := schemaWith(t), schemaWith(t, "Two"), schemaWith(t, "Three")
	source := make(asked)
	w := watch(t, server.Addr, quick, func(*target.Target) discovery.Source { return source })
	source <- answer{schema: one}
	require.Same(t, one, await(t, w.views, "a schema", ready).schema)
	for _, next := range []answer{{schema: two}, {schema: one}, {schema: three}, {schema: two}, {err: errors.New("not now")}, {schema: one}, {schema: two}} {
		source <- next
	}
	require.Empty(t, w.views, "each was seen once in a row, and what is known stays")
	source <- answer{schema: two}
	require.Same(t, two, await(t, w.views, "another schema", ready).schema)
}

func TestALookEndsWithTheTarget(t *testing.T) {
	t.Parallel()
	server := targettest.Start(t, targettest.Config{})
	w := watch(t, server.Addr, quick, func(*target.Target) discovery.Source { return make(asked) })
	brokertest.Eventually(t, patience, w.target.Ready)
	server.Stop()
	await(t, w.views, "trouble", func(v view) bool { return errors.Is(v.trouble, target.ErrUnreachable) })
}

func TestAReplacedServerIsLookedAtThoughNothingElseShows(t *testing.T) {
	t.Parallel()
	slow := quick
	slow.relearn = time.Hour
	server := targettest.Start(t, targettest.Config{Offer: targettest.Files(t)})
	w := watch(t, server.Addr, slow, nil)
	await(t, w.views, "a schema", ready)
	server.Stop()
	targettest.Start(t, targettest.Config{Addr: server.Addr, Offer: targettest.Files(t, "More")})
	await(t, w.views, "the new schema", func(v view) bool { return ready(v) && methods(v) == 4 })
}
