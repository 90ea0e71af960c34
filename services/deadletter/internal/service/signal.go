package service

import (
	"context"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// signalStore wakes those who wait for changes after each commit of one, and has what
// was committed counted.
type signalStore struct {
	store.Store

	changed func()
	metrics *metrics
}

func (s signalStore) after(err error) {
	if err == nil {
		s.changed()
	}
}

// Put implements [store.Store].
func (s signalStore) Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error) {
	changes, err := s.Store.Put(ctx, arrivals)
	s.after(err)
	s.metrics.arrived(arrivals, changes)
	return changes, err
}

// BeginReplay implements [store.Store].
func (s signalStore) BeginReplay(ctx context.Context, r store.ReplayRequest) (store.DeadLetter, store.Intent, error) {
	d, i, err := s.Store.BeginReplay(ctx, r)
	s.after(err)
	return d, i, err
}

// ResolveNow implements [store.Store].
func (s signalStore) ResolveNow(ctx context.Context, r store.ResolveRequest) (store.DeadLetter, error) {
	d, err := s.Store.ResolveNow(ctx, r)
	s.after(err)
	return d, err
}

// Discard implements [store.Store].
func (s signalStore) Discard(ctx context.Context, r store.DiscardRequest) (store.DeadLetter, error) {
	d, err := s.Store.Discard(ctx, r)
	s.after(err)
	return d, err
}

// Resolve implements [store.Store].
func (s signalStore) Resolve(ctx context.Context, id string, run int, outcome store.Outcome) (bool, error) {
	resolved, err := s.Store.Resolve(ctx, id, run, outcome)
	s.after(err)
	if resolved && err == nil {
		s.metrics.replayed(outcome, 1)
	}
	return resolved, err
}
