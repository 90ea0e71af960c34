package api

import (
	"context"
	"time"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// govern shows what the policy of its type means for a dead letter.
func (s *Service) govern(ctx context.Context, m *deadletterv1.DeadLetter, d *store.DeadLetter) {
	holds := s.policies.of(ctx, d.Type)
	m.Residence = deadletterv1.Residence(holds.Residence(d, time.Now()))
	m.PurgeTime = timestamp(holds.PurgeTime(d))
}
