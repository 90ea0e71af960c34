package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
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

// sharedScheduleRules are about two stores of one place.
var sharedScheduleRules = map[string]func(*testing.T, store.Store, store.Store){
	"TakeDue/gives each task to one of two stores": func(t *testing.T, a, b store.Store) {
		const tasks = 100
		for i := range tasks {
			schedule(t, a, scheduled(task.NewID(), at(i%7)))
		}
		requireTakenOnce(t, tasks, 4, func(caller int) store.Store { return []store.Store{a, b}[caller%2] })
	},
	"TakeDue/of one store is leased in the other": func(t *testing.T, a, b store.Store) {
		one := scheduled(task.NewID(), at(1))
		schedule(t, a, one)
		due, _ := take(t, a, at(1), 1)
		require.Len(t, due, 1)
		due, next := take(t, b, at(2), 1)
		require.Empty(t, due)
		require.Equal(t, at(61), next)
		due, _ = take(t, b, at(61), 1)
		require.Equal(t, []store.Due{dueAs(one, true)}, due)
		require.NoError(t, b.Unschedule(t.Context(), idsOf(due)))
		requireNoMessage(t, a, one.Event.TaskID)
	},
	"Fire/once in two stores": func(t *testing.T, a, b store.Store) {
		putSchedule(t, a, spec("nightly", 1, at(10)))
		requireOneFires(t, a, b)
	},
}
