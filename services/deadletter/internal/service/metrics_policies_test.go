package service

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func setPolicy(t *testing.T, s store.Store, taskType string, set store.Settings) {
	t.Helper()
	r := store.PolicyRequest{TaskType: taskType, Set: set}
	for f := range set {
		r.Fields = append(r.Fields, f)
	}
	_, _, err := s.UpdatePolicy(t.Context(), r)
	require.NoError(t, err)
}

func TestMetricsOfPolicies(t *testing.T) {
	t.Parallel()
	s, m := counting(t)
	const hour = int64(time.Hour / time.Microsecond)
	_, err := s.Put(t.Context(), []store.Arrival{
		died("acme.v1.Images.Resize", "a"), died("acme.v1.Images.Crop", "b"), died("stray.v1.A.B", "c"), died("stray.v1.A.C", "d"),
	})
	require.NoError(t, err)
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyBreachAge: 1})
	setPolicy(t, s, "acme.v1.Images.Crop", store.Settings{store.PolicyBreachAge: hour, store.PolicyWarnAge: 1})
	const resize, crop, unknown = "warren.task.type=acme.v1.Images.Resize", "warren.task.type=acme.v1.Images.Crop", "warren.task.type=unknown"
	requireMetric(t, m, "warren.dead_letter.residence", map[string]float64{
		"warren.residence=breach," + resize: 1, "warren.residence=warn," + crop: 1, "warren.residence=breach," + unknown: 2,
	})

	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyOpenRetention: 1})
	setPolicy(t, s, "acme.v1.Images.Crop", store.Settings{store.PolicyOpenRetention: 0})
	expire := func(n int) {
		brokertest.Eventually(t, time.Minute, func() error {
			expired, next, err := s.Expire(t.Context(), store.ExpirePlace{})
			require.NoError(t, err)
			require.Zero(t, next)
			if n -= len(expired); n > 0 {
				return fmt.Errorf("%d have not expired", n)
			}
			return nil
		})
		require.Zero(t, n)
	}
	expire(3)
	setPolicy(t, s, "acme.v1.Images.Resize", store.Settings{store.PolicyTombstoneRetention: 1})
	expire(1)
	require.Equal(t, map[string]float64{
		"warren.state=OPEN," + resize: 1, "warren.state=OPEN," + unknown: 2, "warren.state=PURGED," + resize: 1,
	}, m.Series(t, "warren.dead_letter.expired"))
}
