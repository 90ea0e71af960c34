// Package api is the public gRPC API of the dead-letter service.
package api

import (
	"context"
	"log/slog"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Store is what the API needs of the store.
type Store interface {
	store.Audits
	store.Selections
	store.Notifications
	store.Replays
	store.Groups
	store.Bulk
	store.Policies
	store.Revisions

	Get(ctx context.Context, id string, full bool) (store.DeadLetter, error)
	List(ctx context.Context, q store.Query) (store.Page, error)
	Count(ctx context.Context, q store.Query) (int64, error)
	Changes(ctx context.Context, after int64, f filter.Expr, limit int, full bool) (store.ChangePage, error)
	LatestChange(ctx context.Context) (int64, error)
	Discard(ctx context.Context, r store.DiscardRequest) (store.DeadLetter, error)
}

// Replayer begins replays. Those that are in the store it drives by itself.
type Replayer interface {
	// Begin begins the next run of one dead letter's task.
	Begin(ctx context.Context, r store.ReplayRequest) (replay.Begun, error)
	// Preview is the verdict on each member in a replay with a plan.
	Preview(ctx context.Context, members []store.Member, p store.Plan) ([]replay.Preview, error)
	// Reach says whether the gateway answers now, for a task.
	Reach(ctx context.Context, id string) error
}

// Types knows what the payloads of task types are.
type Types interface {
	// Input is the full name of a task type's input message, empty if it can't be
	// told now.
	Input(ctx context.Context, taskType string) string
}

// Config is what the service needs.
type Config struct {
	Store    Store
	Replayer Replayer
	Types    Types
	Schemas  Schemas
	Hub      *Hub
	// Info says what this service is.
	Info   func() *adminv1.ServerInfo
	Logger *slog.Logger
	// Notifier knows the channels of notifications.
	Notifier Notifier
	// BuiltIn is the rule of the command line; nil for none.
	BuiltIn *store.Rule
}

// Service implements warren.deadletter.v1.DeadLetterService.
type Service struct {
	deadletterv1.UnimplementedDeadLetterServiceServer

	cfg      Config
	policies *policyCache
	// stopping is closed when watches are to end.
	stopping chan struct{}
}

// NewService makes the service.
func NewService(cfg Config) *Service {
	return &Service{cfg: cfg, policies: &policyCache{store: cfg.Store}, stopping: make(chan struct{})}
}

// Stop ends watches, which callers resume elsewhere. Call it once.
func (s *Service) Stop() { close(s.stopping) }

// GetDeadLetter implements warren.deadletter.v1.DeadLetterService.
func (s *Service) GetDeadLetter(ctx context.Context, r *deadletterv1.GetDeadLetterRequest) (*deadletterv1.GetDeadLetterResponse, error) {
	d, err := s.cfg.Store.Get(ctx, r.DeadLetterId, isFull(r.View))
	if err != nil {
		return nil, answer(err)
	}
	m := s.show(ctx, &d, isFull(r.View))
	if isFull(r.View) && r.PayloadRevision > 0 {
		if err := s.showRevision(ctx, m, &d, r.PayloadRevision); err != nil {
			return nil, err
		}
	}
	return &deadletterv1.GetDeadLetterResponse{DeadLetter: m}, nil
}

// ReplayDeadLetter implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ReplayDeadLetter(ctx context.Context, r *deadletterv1.ReplayDeadLetterRequest) (*deadletterv1.ReplayDeadLetterResponse, error) {
	b, err := s.cfg.Replayer.Begin(ctx, store.ReplayRequest{ID: r.DeadLetterId, Etag: r.Etag, By: callOf(ctx, "ReplayDeadLetter", r.Reason)})
	if err != nil {
		return nil, answer(err)
	}
	logOf(s.cfg.Logger, &b.DeadLetter, b.Run).InfoContext(ctx, "an operator has replayed a dead letter", "reason", r.Reason)
	return &deadletterv1.ReplayDeadLetterResponse{DeadLetter: s.show(ctx, &b.DeadLetter, false), Run: int32(b.Run)}, nil
}

// DiscardDeadLetter implements warren.deadletter.v1.DeadLetterService.
func (s *Service) DiscardDeadLetter(ctx context.Context, r *deadletterv1.DiscardDeadLetterRequest) (*deadletterv1.DiscardDeadLetterResponse, error) {
	d, err := s.cfg.Store.Discard(ctx, store.DiscardRequest{ID: r.DeadLetterId, Etag: r.Etag, By: callOf(ctx, "DiscardDeadLetter", r.Reason)})
	if err != nil {
		return nil, answer(err)
	}
	logOf(s.cfg.Logger, &d, d.Run).InfoContext(ctx, "an operator has discarded a dead letter", "reason", r.Reason)
	return &deadletterv1.DiscardDeadLetterResponse{DeadLetter: s.show(ctx, &d, false)}, nil
}

// show renders a dead letter as the view asks.
func (s *Service) show(ctx context.Context, d *store.DeadLetter, full bool) *deadletterv1.DeadLetter {
	m := deadLetterToProto(d)
	s.govern(ctx, m, d)
	if !full || d.Message == nil {
		return m
	}
	addFull(m, d)
	if !d.Foreign {
		m.Revisions = revisionsToProto(d)
	}
	if d.Foreign || len(d.Message.Body) > maxPayloadShown {
		return m
	}
	if input := s.cfg.Types.Input(ctx, d.Type); input != "" {
		m.Payload = anyOf(input, d.Message.Body)
	}
	return m
}

func isFull(v deadletterv1.DeadLetterView) bool {
	return v == deadletterv1.DeadLetterView_DEAD_LETTER_VIEW_FULL
}

// answerTime is kept of a caller's deadline, so that the answer still arrives.
const answerTime = 200 * time.Millisecond

// beforeDeadline bounds work so that its outcome reaches the caller before the
// caller's deadline does, and by atMost in any case.
func beforeDeadline(ctx context.Context, atMost time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		atMost = min(atMost, left-min(answerTime, left/5))
	}
	return context.WithTimeout(ctx, atMost)
}
