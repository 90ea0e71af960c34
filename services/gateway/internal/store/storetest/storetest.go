// Package storetest is the suite that every engine of the gateway's store
// passes: one test for each rule of the contract.
package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Run runs the suite. Open returns an empty store of the engine under test and
// sees to it that it is closed when the test ends; a Close in the test must not
// disturb it. Of subjects, if any, only the rules about them are run: a rule's
// subject is what its name has before the slash.
func Run(t *testing.T, open func(t *testing.T) store.Store, subjects ...string) {
	t.Helper()
	for _, rules := range []map[string]func(*testing.T, store.Store){
		applyRules, progressRules, readRules, tasksRules, listRules, filterRules, feedRules, followRules, trimRules, startRules, claimRules, overrideRules, purgeRules, endedRules, bundleRules, lifeRules,
		controlRules, cancelRules, cancellationRules, keyRules, scheduleRules, takeRules, takeTypesRules, updateRules, schedulesRules, fireRules, firingRules, runningRules, retireRules, nextQueuedRules,
	} {
		for name, rule := range rules {
			if subject, _, _ := strings.Cut(name, "/"); len(subjects) > 0 && !slices.Contains(subjects, subject) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rule(t, open(t))
			})
		}
	}
}
