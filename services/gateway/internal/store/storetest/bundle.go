package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var bundleRules = map[string]func(*testing.T, store.Store){
	"Bundles/none at first":                     func(t *testing.T, s store.Store) { requireBundles(t, s) },
	"Bundles/are kept as they were put":         keepsBundles,
	"Bundles/a later one replaces":              replacesBundle,
	"Bundles/a later one replaces in part":      replacesBundleInPart,
	"Bundles/an earlier one may come back":      bringsBundleBack,
	"Bundles/share files":                       sharesFiles,
	"Bundles/without services are not kept":     dropsBundleWithoutServices,
	"Bundles/a repetition changes time at most": repeatsBundle,
}

func bundle(digest string, second int, services []string, files ...string) store.BundleRecord {
	b := store.BundleRecord{Digest: digest, Services: services, Time: at(second)}
	for _, f := range files {
		b.Files = append(b.Files, []byte(f))
	}
	return b
}

func put(t *testing.T, s store.Store, bundles ...store.BundleRecord) {
	t.Helper()
	for _, b := range bundles {
		require.NoError(t, s.PutBundle(t.Context(), b))
	}
}

func requireBundles(t *testing.T, s store.Store, want ...store.BundleRecord) {
	t.Helper()
	got, err := s.Bundles(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func keepsBundles(t *testing.T, s store.Store) {
	a := bundle("a", 2, []string{"x.v1.A", "x.v1.B"}, "2", "1", "", "2")
	b := bundle("b", 1, []string{"y.v1.C"}, "3")
	put(t, s, a, b)
	requireBundles(t, s, b, a)
}

func replacesBundle(t *testing.T, s store.Store) {
	later := bundle("b", 1, []string{"x.v1.A"}, "2")
	put(t, s, bundle("a", 2, []string{"x.v1.A"}, "1"), later)
	requireBundles(t, s, later)
}

func replacesBundleInPart(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A", "x.v1.B"}, "1")
	b := bundle("b", 2, []string{"x.v1.B", "x.v1.C"}, "2")
	put(t, s, a, b)
	a.Services = []string{"x.v1.A"}
	requireBundles(t, s, a, b)
}

func bringsBundleBack(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A"}, "1", "2")
	put(t, s, a, bundle("b", 2, []string{"x.v1.A"}, "1", "3"), a)
	requireBundles(t, s, a)
}

func sharesFiles(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A"}, "common", "1")
	b := bundle("b", 2, []string{"x.v1.B"}, "common", "2")
	c := bundle("c", 3, []string{"x.v1.A"}, "3")
	put(t, s, a, b, c)
	requireBundles(t, s, b, c)
}

func dropsBundleWithoutServices(t *testing.T, s store.Store) {
	put(t, s, bundle("a", 1, nil, "1"))
	requireBundles(t, s)
}

func repeatsBundle(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A"}, "1", "2")
	put(t, s, a, a)
	requireBundles(t, s, a)
	a.Time = at(5)
	put(t, s, a)
	requireBundles(t, s, a)
}
