package service

import (
	"context"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Revise implements [store.Store].
func (s lazyStore) Revise(ctx context.Context, r store.ReviseRequest) (_ store.DeadLetter, _ store.Revision, err error) {
	defer s.measure(ctx, "Revise", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return store.DeadLetter{}, store.Revision{}, err
	}
	return opened.Revise(ctx, r)
}

// Payload implements [store.Store].
func (s lazyStore) Payload(ctx context.Context, sequence int64, revision int) (_ []byte, _ bool, err error) {
	defer s.measure(ctx, "Payload", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return nil, false, err
	}
	return opened.Payload(ctx, sequence, revision)
}

// Revision implements [store.Store].
func (s lazyStore) Revision(ctx context.Context, sequence int64, revision int) (_ store.Revision, _ bool, err error) {
	defer s.measure(ctx, "Revision", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return store.Revision{}, false, err
	}
	return opened.Revision(ctx, sequence, revision)
}

// Revise implements [store.Store].
func (s signalStore) Revise(ctx context.Context, r store.ReviseRequest) (store.DeadLetter, store.Revision, error) {
	d, made, err := s.Store.Revise(ctx, r)
	s.after(err)
	return d, made, err
}
