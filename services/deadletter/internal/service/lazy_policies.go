package service

import (
	"context"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// ChangeMembers implements [store.Store].
func (s lazyStore) ChangeMembers(ctx context.Context, r store.BulkRequest) (store.BulkAnswer, error) {
	return ask(ctx, s, "ChangeMembers", func(o store.Store) (store.BulkAnswer, error) { return o.ChangeMembers(ctx, r) })
}

// JudgeMembers implements [store.Store].
func (s lazyStore) JudgeMembers(ctx context.Context, r store.BulkRequest) ([]store.BulkItem, error) {
	return ask(ctx, s, "JudgeMembers", func(o store.Store) ([]store.BulkItem, error) { return o.JudgeMembers(ctx, r) })
}

// Policy implements [store.Store].
func (s lazyStore) Policy(ctx context.Context, taskType string) (own, all store.Policy, err error) {
	defer s.measure(ctx, "Policy", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return own, all, err
	}
	return opened.Policy(ctx, taskType)
}

// Policies implements [store.Store].
func (s lazyStore) Policies(ctx context.Context, after string, limit int) ([]store.Policy, error) {
	return ask(ctx, s, "Policies", func(o store.Store) ([]store.Policy, error) { return o.Policies(ctx, after, limit) })
}

// UpdatePolicy implements [store.Store].
func (s lazyStore) UpdatePolicy(ctx context.Context, r store.PolicyRequest) (own, all store.Policy, err error) {
	defer s.measure(ctx, "UpdatePolicy", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return own, all, err
	}
	return opened.UpdatePolicy(ctx, r)
}

// Expire implements [store.Store].
func (s lazyStore) Expire(ctx context.Context, from store.ExpirePlace) (_ []store.Expired, _ store.ExpirePlace, err error) {
	defer s.measure(ctx, "Expire", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return nil, from, err
	}
	return opened.Expire(ctx, from)
}

// Forget implements [store.Store].
func (s lazyStore) Forget(ctx context.Context) (int, error) {
	return ask(ctx, s, "Forget", func(o store.Store) (int, error) { return o.Forget(ctx) })
}

// CountResidence implements [store.Store].
func (s lazyStore) CountResidence(ctx context.Context) ([]store.ResidenceCount, error) {
	return ask(ctx, s, "CountResidence", func(o store.Store) ([]store.ResidenceCount, error) { return o.CountResidence(ctx) })
}
