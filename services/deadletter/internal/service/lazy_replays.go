package service

import (
	"context"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// CreateReplay implements [store.Store].
func (s lazyStore) CreateReplay(ctx context.Context, r store.NewReplay) (store.Replay, error) {
	return ask(ctx, s, "CreateReplay", func(o store.Store) (store.Replay, error) { return o.CreateReplay(ctx, r) })
}

// Replay implements [store.Store].
func (s lazyStore) Replay(ctx context.Context, id string) (store.Replay, error) {
	return ask(ctx, s, "Replay", func(o store.Store) (store.Replay, error) { return o.Replay(ctx, id) })
}

// ReplayOf implements [store.Store].
func (s lazyStore) ReplayOf(ctx context.Context, requestID string, hash []byte) (store.Replay, error) {
	return ask(ctx, s, "ReplayOf", func(o store.Store) (store.Replay, error) { return o.ReplayOf(ctx, requestID, hash) })
}

// Replays implements [store.Store].
func (s lazyStore) Replays(ctx context.Context, q store.ReplayQuery) ([]store.Replay, error) {
	return ask(ctx, s, "Replays", func(o store.Store) ([]store.Replay, error) { return o.Replays(ctx, q) })
}

// ReplayMembers implements [store.Store].
func (s lazyStore) ReplayMembers(ctx context.Context, id string) ([]store.Member, error) {
	return ask(ctx, s, "ReplayMembers", func(o store.Store) ([]store.Member, error) { return o.ReplayMembers(ctx, id) })
}

// ReplayItems implements [store.Store].
func (s lazyStore) ReplayItems(ctx context.Context, q store.ItemQuery) (store.ItemPage, error) {
	return ask(ctx, s, "ReplayItems", func(o store.Store) (store.ItemPage, error) { return o.ReplayItems(ctx, q) })
}

// SteerReplay implements [store.Store].
func (s lazyStore) SteerReplay(ctx context.Context, x store.Steering) (store.Replay, error) {
	return ask(ctx, s, "SteerReplay", func(o store.Store) (store.Replay, error) { return o.SteerReplay(ctx, x) })
}

// StartReplay implements [store.Store].
func (s lazyStore) StartReplay(ctx context.Context, id string) (store.Replay, error) {
	return ask(ctx, s, "StartReplay", func(o store.Store) (store.Replay, error) { return o.StartReplay(ctx, id) })
}

// Candidates implements [store.Store].
func (s lazyStore) Candidates(ctx context.Context, members []store.Member) ([]store.Candidate, error) {
	return ask(ctx, s, "Candidates", func(o store.Store) ([]store.Candidate, error) { return o.Candidates(ctx, members) })
}

// BeginItems implements [store.Store].
func (s lazyStore) BeginItems(ctx context.Context, b store.Begin) (_ []bool, _ store.Replay, err error) {
	defer s.measure(ctx, "BeginItems", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return nil, store.Replay{}, err
	}
	return opened.BeginItems(ctx, b)
}

// MarkSent implements [store.Store].
func (s lazyStore) MarkSent(ctx context.Context, sent []store.Sent) error {
	return tell(ctx, s, "MarkSent", func(o store.Store) error { return o.MarkSent(ctx, sent) })
}

// ResolveAll implements [store.Store].
func (s lazyStore) ResolveAll(ctx context.Context, ended []store.Ended) ([]bool, error) {
	return ask(ctx, s, "ResolveAll", func(o store.Store) ([]bool, error) { return o.ResolveAll(ctx, ended) })
}

// Holder implements [store.Store].
func (s lazyStore) Holder(ctx context.Context, id string) (store.Holder, error) {
	return ask(ctx, s, "Holder", func(o store.Store) (store.Holder, error) { return o.Holder(ctx, id) })
}

// Reopen implements [store.Store].
func (s lazyStore) Reopen(ctx context.Context, r store.ReopenRequest) (store.DeadLetter, error) {
	return ask(ctx, s, "Reopen", func(o store.Store) (store.DeadLetter, error) { return o.Reopen(ctx, r) })
}
