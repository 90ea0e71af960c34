package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/api"
	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/schema"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestMain(m *testing.M) {
	otel.SetTextMapPropagator(propagation.TraceContext{}) // as telemetry.Start does
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// replayer begins replays in the store, unless a script says otherwise.
type replayer struct {
	store store.Store

	mu     sync.Mutex
	script map[string]error
	begun  int
	// byHand leaves what is created to the test.
	byHand bool
}

func (r *replayer) Begin(ctx context.Context, q store.ReplayRequest) (replay.Begun, error) {
	r.mu.Lock()
	r.begun++
	err := r.script[q.ID]
	r.mu.Unlock()
	if err != nil {
		return replay.Begun{}, err
	}
	q.Run = 2
	d, i, err := r.store.BeginReplay(ctx, q)
	return replay.Begun{DeadLetter: d, Run: i.Run}, err
}

func (r *replayer) scripted(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.script[id]
}

// Reach implements [api.Replayer].
func (r *replayer) Reach(_ context.Context, id string) error {
	if err := r.scripted(id); errors.Is(err, replay.ErrGateway) {
		return err
	}
	return nil
}

// Preview implements [api.Replayer].
func (r *replayer) Preview(ctx context.Context, members []store.Member, _ store.Plan) ([]replay.Preview, error) {
	all, err := r.store.Candidates(ctx, members)
	var out []replay.Preview
	for i := range all {
		verdict, why := r.verdict(&all[i])
		out = append(out, replay.Preview{DeadLetterID: all[i].DeadLetter.ID, Verdict: verdict, Message: why})
	}
	return out, err
}

func (r *replayer) verdict(c *store.Candidate) (store.Verdict, string) {
	if c.DeadLetter.Foreign {
		return store.VerdictNoTask, "no task"
	}
	if err := r.scripted(c.DeadLetter.ID); err != nil {
		return store.VerdictInReplay, err.Error()
	}
	return store.VerdictReady, ""
}

// drive begins the items of a replay, at most n.
func (r *replayer) drive(ctx context.Context, made store.Replay, n int) error {
	members, err := r.store.ReplayMembers(ctx, made.ID)
	if err != nil {
		return err
	}
	all, err := r.store.Candidates(ctx, members[made.Handled:min(made.Handled+n, len(members))])
	if err != nil {
		return err
	}
	b := store.Begin{ReplayID: made.ID, Handled: made.Handled}
	for i := range all {
		d := &all[i].DeadLetter
		verdict, why := r.verdict(&all[i])
		b.Items = append(b.Items, store.BeginItem{
			Sequence: d.Sequence, DeadLetterID: d.ID, Etag: d.Etag, Verdict: verdict, Message: why, IntentID: uuid.NewString(), Run: d.Run + 1, Revision: 1,
		})
	}
	_, _, err = r.store.BeginItems(ctx, b)
	return err
}

// drivenStore begins all items of a replay as soon as it is created, unless that is to be
// done by the test.
type drivenStore struct {
	store.Store

	replayer *replayer
	hub      *api.Hub
}

func (s drivenStore) CreateReplay(ctx context.Context, n store.NewReplay) (store.Replay, error) {
	made, err := s.Store.CreateReplay(ctx, n)
	if err == nil && !s.replayer.byHand {
		err = s.replayer.drive(ctx, made, store.MaxPage)
	}
	s.hub.Wake()
	return made, err
}

// catalogue knows one task type.
type catalogue struct {
	mu    sync.Mutex
	asked int
	// describes answers instead if it is set.
	describes func(taskType string) (*adminv1.GetTaskTypeResponse, error)
}

func (c *catalogue) GetTaskType(_ context.Context, r *adminv1.GetTaskTypeRequest, _ ...grpc.CallOption) (*adminv1.GetTaskTypeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.describes != nil {
		return c.describes(r.Name)
	}
	if r.Name != "acme.v1.Images.Resize" {
		return nil, status.Error(codes.NotFound, "none")
	}
	return &adminv1.GetTaskTypeResponse{TaskType: &adminv1.TaskType{Input: "acme.v1.ResizeRequest"}}, nil
}

// world is the API over a real store.
type world struct {
	deadletterv1.DeadLetterServiceClient

	store    store.Store
	hub      *api.Hub
	service  *api.Service
	replayer *replayer
	types    *catalogue
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, func(s store.Store) api.Store { return s })
}

// newWorldWith has the API see the store through something.
func newWorldWith(t testing.TB, through func(store.Store) api.Store) *world {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	w := &world{store: s, hub: api.NewHub(), replayer: &replayer{store: s, script: map[string]error{}}, types: &catalogue{}}
	log := slog.New(slog.DiscardHandler)
	chat, err := notify.NewChannel("chat", "generic://127.0.0.1:1/hook?disabletls=yes", false)
	require.NoError(t, err)
	w.service = api.NewService(api.Config{
		Store: through(drivenStore{s, w.replayer, w.hub}), Replayer: w.replayer, Types: api.NewTypeCache(w.types),
		Schemas: schema.New(w.types), Hub: w.hub, Logger: log,
		Notifier: notify.New(s, []*notify.Channel{chat}, nil, log),
		BuiltIn:  &store.Rule{ID: store.BuiltInRule, Trigger: store.TriggerDeadLetter, Types: []string{"acme.*"}, Channels: []string{store.BuiltInRule}},
	})
	server, err := rpc.NewServer(rpc.ServerConfig{Logger: log, MaxMessageBytes: 32 << 20})
	require.NoError(t, err)
	deadletterv1.RegisterDeadLetterServiceServer(server, w.service)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		<-done
		require.NoError(t, s.Close())
	})
	w.DeadLetterServiceClient = deadletterv1.NewDeadLetterServiceClient(conn)
	return w
}

func arrival(n int) store.Arrival {
	return store.Arrival{
		ID: task.NewID(), Type: "acme.v1.Images.Resize", Labels: map[string]string{"n": fmt.Sprint(n)}, Priority: 4,
		CreateTime: time.Now(), RunTime: time.Now(), Template: []byte("{}"),
		Message: store.Message{
			Body: []byte("payload"), Queue: "warren.work.acme", Exchange: "warren.tasks", RoutingKeys: []string{"acme"},
			Properties: map[string]string{"priority": "4"}, Headers: map[string]string{"h": "v"},
		},
		Occurrence: store.Occurrence{
			Run: 1, Attempt: 3, Cause: task.CauseAttemptsExhausted, Reason: "QUOTA", Decision: "attempt 3 of 3", WorkerID: "w",
			TraceID: "0af7651916cd43dd8448eb211c80319c", DeadTime: time.Now(), AttemptsOmitted: 2,
			Failure: &task.Failure{Code: 14, Message: "away", Kind: task.KindError, Details: []task.Detail{{TypeURL: "t", Value: []byte("d")}}},
			Attempts: []task.Record{{
				Key: task.Key{Run: 1, Attempt: 3, Delivery: 5}, WorkerID: "w", Execution: task.Execution{Host: "h", Version: "v"},
				Outcome: task.OutcomeFailed, Decision: "why", StartTime: time.Now(), EndTime: time.Now(),
			}},
		},
	}
}

func foreign() store.Arrival {
	return store.Arrival{
		ID: task.NewID(), Foreign: true, Type: "some.key", Message: store.Message{Body: []byte("garbage")},
		Occurrence: store.Occurrence{Cause: task.CauseUndecodable},
	}
}

// put stores arrivals and returns their ids.
func (w *world) put(t testing.TB, arrivals ...store.Arrival) []string {
	t.Helper()
	_, err := w.store.Put(t.Context(), arrivals)
	require.NoError(t, err)
	ids := make([]string, len(arrivals))
	for i, a := range arrivals {
		ids[i] = a.ID
	}
	w.hub.Wake()
	return ids
}

// requireReason fails unless err has the code and one ErrorInfo with the reason.
func requireReason(t *testing.T, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	st := status.Convert(err)
	require.Equal(t, code, st.Code(), st.Message())
	var infos []*errdetails.ErrorInfo
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos = append(infos, info)
		}
	}
	require.Len(t, infos, 1)
	require.Equal(t, "warren", infos[0].Domain)
	require.Equal(t, reason, infos[0].Reason)
	return infos[0]
}
