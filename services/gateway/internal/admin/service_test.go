package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	_ "github.com/warrenmq/warren/gen/demo/v1" // its descriptors make the task types
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const typeDelay = "demo.v1.FaultService.Delay"

const (
	notFound     = taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND
	unavailable  = taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE
	behind       = taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND
	mismatch     = taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH
	invalid      = taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST
	badPageToken = taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID
)

// outage is a real store that can be down, and that lets others in first.
type outage struct {
	store.Store
	err error
	// races run before an override is put, one for each.
	races []func()
	// puts is what PutOverride answers before it does anything.
	puts error
}

func (o *outage) Overrides(ctx context.Context) ([]store.Override, error) {
	if o.err != nil {
		return nil, o.err
	}
	return o.Store.Overrides(ctx)
}

func (o *outage) PutOverride(ctx context.Context, v store.Override) error {
	if len(o.races) > 0 {
		race := o.races[0]
		o.races = o.races[1:]
		race()
	}
	if o.puts != nil {
		return o.puts
	}
	return o.Store.PutOverride(ctx, v)
}

func (o *outage) ClaimRun(ctx context.Context, id string, run int, c task.Copy) (held, ended bool, err error) {
	if o.err != nil {
		return false, false, o.err
	}
	return o.Store.ClaimRun(ctx, id, run, c)
}

// fakes stand for the rest of a gateway.
type fakes struct {
	// told are the types whose workers were told, tellErr the answer.
	told     []string
	tellErr  error
	catchUp  error
	caughtUp int
	checked  error
}

func (f *fakes) TellWorkers(_ context.Context, taskType string) error {
	f.told = append(f.told, taskType)
	return f.tellErr
}

func (f *fakes) CatchUp(context.Context) error {
	f.caughtUp++
	return f.catchUp
}

func (f *fakes) Check(context.Context) (*adminv1.CheckTopologyResponse, error) {
	return &adminv1.CheckTopologyResponse{Severity: adminv1.Severity_SEVERITY_WARNING}, f.checked
}

// fixture is a service and what it works with.
type fixture struct {
	*Service
	fakes
	store *outage
	types *tasktypes.Types
	// loaded says that the catalogue is.
	loaded bool
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	a, err := catalogue.Collect(nil, "demo.v1.FaultService", "demo.v1.ImageService")
	require.NoError(t, err)
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	known := catalogue.New()
	_, err = known.Put(bundle, time.Now())
	require.NoError(t, err)
	f := &fixture{store: &outage{Store: s}, loaded: true}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f.types = tasktypes.New(known, f.store, log)
	f.Service = New(Config{
		Types: f.types, CatalogueLoaded: func() bool { return f.loaded }, Store: f.store, Workers: &f.fakes,
		Projection: &f.fakes, Topology: &f.fakes, Logger: log,
	})
	return f
}

func requireReason(t testing.TB, err error, code codes.Code, reason taskv1.ErrorReason) {
	t.Helper()
	require.Equal(t, code, status.Code(err), "%v", err)
	infos := 0
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos++
			require.Equal(t, "warren", info.Domain)
			require.Equal(t, reason.String(), "ERROR_REASON_"+info.Reason)
		}
	}
	require.Equal(t, 1, infos)
}

func fieldsOf(err error) []string {
	var fields []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				fields = append(fields, v.Field)
			}
		}
	}
	return fields
}

func TestCheckTopology(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answer, err := f.CheckTopology(t.Context(), &adminv1.CheckTopologyRequest{})
	require.NoError(t, err)
	require.Equal(t, adminv1.Severity_SEVERITY_WARNING, answer.Severity)
	f.checked = context.Canceled
	_, err = f.CheckTopology(t.Context(), &adminv1.CheckTopologyRequest{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestARunIsClaimedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, first, second := task.NewID(), task.NewCopy(), task.NewCopy()
	claim := func(c task.Copy) (*adminv1.ClaimTaskRunResponse, error) {
		return f.ClaimTaskRun(t.Context(), &adminv1.ClaimTaskRunRequest{TaskId: id, Run: 1, Copy: c[:]})
	}
	for range 2 {
		answer, err := claim(first)
		require.NoError(t, err)
		require.True(t, answer.Held)
		require.False(t, answer.Ended)
		answer, err = claim(second)
		require.NoError(t, err)
		require.False(t, answer.Held)
	}
	require.Equal(t, 4, f.caughtUp)
	_, err := f.store.Apply(t.Context(), []task.Event{{
		TaskID: id, Type: typeDelay, Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded, Copy: first},
	}})
	require.NoError(t, err)
	answer, err := claim(second)
	require.NoError(t, err)
	require.True(t, answer.Ended)

	f.store.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	_, err = claim(first)
	requireReason(t, err, codes.Unavailable, unavailable)
	f.store.err = errors.New("secret")
	_, err = claim(first)
	requireReason(t, err, codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL)
	require.NotContains(t, status.Convert(err).Message(), "secret")
	f.catchUp = fmt.Errorf("wait: %w", projection.ErrBehind)
	_, err = claim(first)
	requireReason(t, err, codes.Unavailable, behind)
	f.catchUp = context.DeadlineExceeded
	_, err = claim(first)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
