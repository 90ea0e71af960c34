package broker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
)

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		product, version string
		ok               bool
	}{
		{"RabbitMQ", "4.3.3", true},
		{"RabbitMQ", "4.3.6", true},
		{"RabbitMQ", "4.3.10", true},
		{"RabbitMQ", "4.4", true},
		{"RabbitMQ", "4.4.0", true},
		{"RabbitMQ", "4.10.0", true},
		{"RabbitMQ", "5", true},
		{"RabbitMQ", "10.0.0", true},
		{"RabbitMQ", "4.3.3-rc.1", true},
		{"RabbitMQ", "4.3.5+12.gabcdef", true},
		{"RabbitMQ", "4.4.0-beta.2+7", true},
		{"RabbitMQ", "4.3.2", false},
		{"RabbitMQ", "4.3", false},
		{"RabbitMQ", "4", false},
		{"RabbitMQ", "4.2.9", false},
		{"RabbitMQ", "3.13.7", false},
		{"RabbitMQ", "", false},
		{"RabbitMQ", "unknown", false},
		{"RabbitMQ", "4.x.9", false},
		{"LavinMQ", "4.3.6", false},
		{"", "", false},
	} {
		err := broker.CheckVersion(tc.product, tc.version)
		if tc.ok {
			assert.NoError(t, err, "%s %s", tc.product, tc.version)
			continue
		}
		var refused *broker.VersionError
		if assert.ErrorAs(t, err, &refused, "%s %s", tc.product, tc.version) {
			assert.Equal(t, broker.VersionError{Product: tc.product, Version: tc.version}, *refused)
		}
	}
}

func TestVersionErrorSaysWhatIsNeeded(t *testing.T) {
	t.Parallel()
	err := broker.CheckVersion("RabbitMQ", "4.0.5")
	require.EqualError(t, err, "the broker is RabbitMQ 4.0.5; Warren needs RabbitMQ 4.3.3 or later")
}
