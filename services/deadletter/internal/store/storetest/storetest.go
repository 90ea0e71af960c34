// Package storetest is the suite that every engine of the dead-letter service's
// store passes: one test for each rule of the contract.
package storetest

import (
	"testing"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Run runs the suite. Open returns an empty store of the engine under test and
// sees to it that it is closed when the test ends; a Close in the test must not
// disturb it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for _, rules := range []map[string]func(*testing.T, store.Store){
		putRules, reopenRules, replayRules, intentRules, readRules, listRules, filterRules, changeRules,
		notificationRules, notificationLogRules, ruleRules, groupRuleRules, conditionRules, heldRules, lifeRules, countRules, groupRules,
		regroupRules, aggregateRules, resourceRules, bulkRules, purgeRules, policyRules, retentionRules, revisionRules, auditRules, selectionRules,
	} {
		for name, rule := range rules {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rule(t, open(t))
			})
		}
	}
}
