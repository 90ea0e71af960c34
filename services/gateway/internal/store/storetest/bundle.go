package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var bundleRules = map[string]func(*testing.T, store.Store){
	"Bundles/none at first":                        func(t *testing.T, s store.Store) { requireBundles(t, s) },
	"Bundles/are kept as they were put":            keepsBundles,
	"Bundles/a newer one replaces":                 replacesBundle,
	"Bundles/an older one stays for what is its":   keepsOlderBundle,
	"Bundles/an older one may come back":           bringsBundleBack,
	"Bundles/of one time are told apart by digest": decidesEqualTimes,
	"Bundles/share files":                          sharesFiles,
	"Bundles/that define nothing are not kept":     dropsBundleWithoutNames,
	"Bundles/a repetition changes nothing":         repeatsBundle,
	"Bundles/are the same in any order":            takesBundlesInAnyOrder,
}

// bundle makes one that defines the names; it was announced with a service more.
func bundle(digest string, second int, defines []string, files ...string) store.BundleRecord {
	b := store.BundleRecord{Digest: digest, Services: []string{"refused.v1.R", "x.v1.A"}, Defines: defines, Time: at(second)}
	for _, f := range files {
		b.Files = append(b.Files, []byte(f))
	}
	return b
}

// keptFor returns a bundle as it is read when it is kept for these names alone.
func keptFor(b store.BundleRecord, names ...string) store.BundleRecord {
	b.Defines = names
	return b
}

func put(t test, s store.Store, bundles ...store.BundleRecord) {
	t.Helper()
	for _, b := range bundles {
		require.NoError(t, s.PutBundle(t.Context(), b))
	}
}

func requireBundles(t test, s store.Store, want ...store.BundleRecord) {
	t.Helper()
	got, err := s.Bundles(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func keepsBundles(t *testing.T, s store.Store) {
	a := bundle("a", 2, []string{"/x.v1.A/M", "x.v1.A"}, "2", "1", "", "2")
	b := bundle("b", 1, []string{"y.v1.C"}, "3")
	put(t, s, a, b)
	requireBundles(t, s, b, a)
}

func replacesBundle(t *testing.T, s store.Store) {
	older, newer := bundle("a", 1, []string{"x.v1.A"}, "1"), bundle("b", 2, []string{"x.v1.A"}, "2")
	put(t, s, older, newer)
	requireBundles(t, s, newer)
	put(t, s, older)
	requireBundles(t, s, newer)
}

func keepsOlderBundle(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"/x.v1.A/Both", "/x.v1.A/Gone", "x.v1.A"}, "1")
	b := bundle("b", 2, []string{"/x.v1.A/Both", "/x.v1.A/New", "x.v1.A"}, "2")
	put(t, s, a, b)
	requireBundles(t, s, keptFor(a, "/x.v1.A/Gone"), b)
	put(t, s, a, b, a)
	requireBundles(t, s, keptFor(a, "/x.v1.A/Gone"), b)
	c := bundle("c", 3, []string{"/x.v1.A/Gone", "x.v1.A"}, "3")
	put(t, s, c)
	requireBundles(t, s, keptFor(b, "/x.v1.A/Both", "/x.v1.A/New"), c)
}

func bringsBundleBack(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A", "x.v1.B"}, "1", "2")
	b := bundle("b", 2, []string{"x.v1.A", "x.v1.C"}, "1", "3")
	again := bundle("a", 3, a.Defines, "1", "2")
	put(t, s, a, b, again)
	requireBundles(t, s, keptFor(b, "x.v1.C"), again)
	put(t, s, a)
	requireBundles(t, s, keptFor(b, "x.v1.C"), again)
}

func decidesEqualTimes(t *testing.T, s store.Store) {
	a, b := bundle("a", 1, []string{"x.v1.A"}, "1"), bundle("b", 1, []string{"x.v1.A"}, "2")
	put(t, s, b, a)
	requireBundles(t, s, b)
}

func sharesFiles(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A"}, "common", "1")
	b := bundle("b", 2, []string{"x.v1.B"}, "common", "2")
	c := bundle("c", 3, []string{"x.v1.A"}, "3")
	put(t, s, a, b, c)
	requireBundles(t, s, b, c)
}

func dropsBundleWithoutNames(t *testing.T, s store.Store) {
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

func takesBundlesInAnyOrder(t *testing.T, s store.Store) {
	a := bundle("a", 1, []string{"x.v1.A", "x.v1.B"}, "1")
	b := bundle("b", 2, []string{"x.v1.A", "x.v1.C"}, "2")
	c := bundle("c", 4, []string{"x.v1.B", "x.v1.C"}, "3")
	late := bundle("b", 5, b.Defines, "2")
	rapid.Check(t, func(t *rapid.T) {
		put(t, s, rapid.Permutation([]store.BundleRecord{a, a, b, c, late}).Draw(t, "order")...)
		requireBundles(t, s, keptFor(c, "x.v1.B"), late)
	})
}
