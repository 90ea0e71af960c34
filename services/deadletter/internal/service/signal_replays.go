package service

import (
	"context"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// CreateReplay implements [store.Store].
func (s signalStore) CreateReplay(ctx context.Context, r store.NewReplay) (store.Replay, error) {
	made, err := s.Store.CreateReplay(ctx, r)
	s.after(err)
	return made, err
}

// SteerReplay implements [store.Store].
func (s signalStore) SteerReplay(ctx context.Context, x store.Steering) (store.Replay, error) {
	r, err := s.Store.SteerReplay(ctx, x)
	s.after(err)
	return r, err
}

// StartReplay implements [store.Store].
func (s signalStore) StartReplay(ctx context.Context, id string) (store.Replay, error) {
	r, err := s.Store.StartReplay(ctx, id)
	s.after(err)
	return r, err
}

// BeginItems implements [store.Store].
func (s signalStore) BeginItems(ctx context.Context, b store.Begin) ([]bool, store.Replay, error) {
	begun, r, err := s.Store.BeginItems(ctx, b)
	s.after(err)
	return begun, r, err
}

// MarkSent implements [store.Store].
func (s signalStore) MarkSent(ctx context.Context, sent []store.Sent) error {
	err := s.Store.MarkSent(ctx, sent)
	s.after(err)
	return err
}

// ResolveAll implements [store.Store].
func (s signalStore) ResolveAll(ctx context.Context, ended []store.Ended) ([]bool, error) {
	resolved, err := s.Store.ResolveAll(ctx, ended)
	s.after(err)
	for i := range resolved {
		if resolved[i] && err == nil {
			s.metrics.replayed(ended[i].Outcome, 1)
		}
	}
	return resolved, err
}

// Reopen implements [store.Store].
func (s signalStore) Reopen(ctx context.Context, r store.ReopenRequest) (store.DeadLetter, error) {
	d, err := s.Store.Reopen(ctx, r)
	s.after(err)
	return d, err
}
