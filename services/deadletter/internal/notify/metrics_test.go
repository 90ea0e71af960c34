package notify

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestMetricsAreByChannel(t *testing.T) {
	t.Parallel()
	s, live, broken, m := openStore(t), newChatServer(t, http.StatusOK), newChatServer(t, http.StatusTeapot), metrictest.New()
	watching(t, s, store.TriggerDeadLetter, "live", "broken", "gone")
	n := New(s, []*Channel{live.channel(t, "live"), broken.channel(t, "broken")}, m.Provider(), quiet)
	putQuietly(t, s, arrival(1))
	serving(t, n)
	const ofLive, ofBroken = "warren.channel=live,warren.channel.kind=generic", "warren.channel=broken,warren.channel.kind=generic"
	brokertest.Eventually(t, patience, func() error {
		age := m.Series(t, "warren.dead_letter.notification.oldest.age")
		if len(age) != 2 || age[ofLive] != 0 || age[ofBroken] <= 0 {
			return fmt.Errorf("the oldest are %v", age)
		}
		attempts := m.Series(t, "warren.dead_letter.notifications")
		if len(attempts) != 2 || attempts[ofLive+",warren.outcome=delivered"] != 1 || attempts[ofBroken+",warren.outcome=failed"] == 0 {
			return fmt.Errorf("the attempts are %v", attempts)
		}
		return nil
	})
}
