package schedules

import (
	"testing"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }
