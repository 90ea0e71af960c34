package service

import (
	"context"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// ChangeMembers implements [store.Store].
func (s signalStore) ChangeMembers(ctx context.Context, r store.BulkRequest) (store.BulkAnswer, error) {
	answer, err := s.Store.ChangeMembers(ctx, r)
	s.after(err)
	return answer, err
}

// Expire implements [store.Store].
func (s signalStore) Expire(ctx context.Context, from store.ExpirePlace) ([]store.Expired, store.ExpirePlace, error) {
	expired, next, err := s.Store.Expire(ctx, from)
	if len(expired) > 0 {
		s.after(err)
		s.metrics.governed.expired(ctx, expired)
	}
	return expired, next, err
}
