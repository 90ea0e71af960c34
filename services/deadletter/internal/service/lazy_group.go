package service

import (
	"context"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Groups implements [store.Groups].
func (s lazyStore) Groups(ctx context.Context, q store.GroupQuery) (store.GroupPage, error) {
	return ask(ctx, s, "Groups", func(o store.Store) (store.GroupPage, error) { return o.Groups(ctx, q) })
}

// Group implements [store.Groups].
func (s lazyStore) Group(ctx context.Context, id string) (store.Group, error) {
	return ask(ctx, s, "Group", func(o store.Store) (store.Group, error) { return o.Group(ctx, id) })
}

// HasGroup implements [store.Groups].
func (s lazyStore) HasGroup(ctx context.Context, id string) (bool, error) {
	return ask(ctx, s, "HasGroup", func(o store.Store) (bool, error) { return o.HasGroup(ctx, id) })
}

// UpdateGroup implements [store.Groups].
func (s lazyStore) UpdateGroup(ctx context.Context, u store.GroupUpdate) (store.Group, error) {
	return ask(ctx, s, "UpdateGroup", func(o store.Store) (store.Group, error) { return o.UpdateGroup(ctx, u) })
}

// CountGroups implements [store.Groups].
func (s lazyStore) CountGroups(ctx context.Context) (map[store.GroupState]int64, error) {
	return ask(ctx, s, "CountGroups", func(o store.Store) (map[store.GroupState]int64, error) { return o.CountGroups(ctx) })
}

// Aggregate implements [store.Groups].
func (s lazyStore) Aggregate(ctx context.Context, q store.AggregateQuery) ([]store.Aggregate, error) {
	return ask(ctx, s, "Aggregate", func(o store.Store) ([]store.Aggregate, error) { return o.Aggregate(ctx, q) })
}

// Ungrouped implements [store.Groups].
func (s lazyStore) Ungrouped(ctx context.Context, version, limit int) ([]store.Ungrouped, error) {
	return ask(ctx, s, "Ungrouped", func(o store.Store) ([]store.Ungrouped, error) { return o.Ungrouped(ctx, version, limit) })
}

// Regroup implements [store.Groups].
func (s lazyStore) Regroup(ctx context.Context, regroupings []store.Regrouping) error {
	return tell(ctx, s, "Regroup", func(o store.Store) error { return o.Regroup(ctx, regroupings) })
}

// ForgetHours implements [store.Groups].
func (s lazyStore) ForgetHours(ctx context.Context, limit int) (int, error) {
	return ask(ctx, s, "ForgetHours", func(o store.Store) (int, error) { return o.ForgetHours(ctx, limit) })
}
