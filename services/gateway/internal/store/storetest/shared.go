package storetest

import (
	"testing"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// RunShared runs the part of the suite that is about engines whose stores several
// gateways may share. Open returns two stores of the same place, which is empty.
func RunShared(t *testing.T, open func(t *testing.T) (a, b store.Store)) {
	t.Helper()
	for _, rules := range []map[string]func(*testing.T, store.Store, store.Store){sharedKeyRules, sharedScheduleRules} {
		for name, rule := range rules {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a, b := open(t)
				rule(t, a, b)
			})
		}
	}
}

var sharedKeyRules = map[string]func(*testing.T, store.Store, store.Store){
	"Keys/of owners at once has one":                    func(t *testing.T, a, b store.Store) { claimAtOnce(t, a, b) },
	"Keys/any claims, leases and ends follow the model": func(t *testing.T, a, b store.Store) { anyClaims(t, a, b) },
	"Cancellations/at once get a position each":         func(t *testing.T, a, b store.Store) { cancelAtOnce(t, a, b) },
}
