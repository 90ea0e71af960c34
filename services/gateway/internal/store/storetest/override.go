package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var overrideRules = map[string]func(*testing.T, store.Store){
	"Overrides/none at first":                  func(t *testing.T, s store.Store) { requireOverrides(t, s) },
	"Overrides/are kept as they were put":      keepsOverrides,
	"Overrides/the next version replaces":      replacesOverride,
	"Overrides/another version is refused":     refusesOverride,
	"Overrides/a repetition changes nothing":   repeatsOverride,
	"Overrides/of several operators, one wins": oneOverrideWins,
}

func override(taskType string, version int64) store.Override {
	return store.Override{
		TaskType: taskType, Version: version, Options: []byte{0, byte(version), 255}, Paths: []string{"retry.max_attempts", "timeout"},
		Reason: "the provider is slow <&> ü", Time: at(int(version)),
	}
}

func requireOverrides(t *testing.T, s store.Store, want ...store.Override) {
	t.Helper()
	got, err := s.Overrides(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func keepsOverrides(t *testing.T, s store.Store) {
	b, a := override("b.v1.B.M", 1), override("a.v1.A.M", 1)
	asDeclared := store.Override{TaskType: "c.v1.C.M", Version: 1}
	for _, o := range []store.Override{b, asDeclared, a} {
		require.NoError(t, s.PutOverride(t.Context(), o))
	}
	requireOverrides(t, s, a, b, asDeclared)
}

func replacesOverride(t *testing.T, s store.Store) {
	other := override("b.v1.B.M", 1)
	require.NoError(t, s.PutOverride(t.Context(), other))
	for version := range int64(3) {
		require.NoError(t, s.PutOverride(t.Context(), override("a.v1.A.M", version+1)))
	}
	requireOverrides(t, s, override("a.v1.A.M", 3), other)
}

func refusesOverride(t *testing.T, s store.Store) {
	for _, version := range []int64{-1, 0, 2} {
		require.ErrorIs(t, s.PutOverride(t.Context(), override("a.v1.A.M", version)), store.ErrChanged)
	}
	requireOverrides(t, s)
	require.NoError(t, s.PutOverride(t.Context(), override("a.v1.A.M", 1)))
	require.NoError(t, s.PutOverride(t.Context(), override("a.v1.A.M", 2)))
	other := override("a.v1.A.M", 2)
	other.Reason = "another"
	for _, o := range []store.Override{override("a.v1.A.M", 1), other, override("a.v1.A.M", 4)} {
		err := s.PutOverride(t.Context(), o)
		require.ErrorIs(t, err, store.ErrChanged)
		require.NotErrorIs(t, err, store.ErrUnavailable)
	}
	requireOverrides(t, s, override("a.v1.A.M", 2))
}

func repeatsOverride(t *testing.T, s store.Store) {
	require.NoError(t, s.PutOverride(t.Context(), override("a.v1.A.M", 1)))
	for range 2 {
		require.NoError(t, s.PutOverride(t.Context(), override("a.v1.A.M", 2)))
	}
	requireOverrides(t, s, override("a.v1.A.M", 2))
}

func oneOverrideWins(t *testing.T, s store.Store) {
	requireOneWins(t, 8, func(i int) error {
		o := override("a.v1.A.M", 1)
		o.Options = []byte{byte(i)}
		return s.PutOverride(t.Context(), o)
	})
}
