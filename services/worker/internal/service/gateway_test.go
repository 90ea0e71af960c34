package service

import (
	"testing"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/worker/gatewaytest"
)

// submit submits a task with a payload and a caller's metadata.
func submit(t *testing.T, g *gatewaytest.Gateway, taskType, payload string, md map[string][][]byte) string {
	t.Helper()
	return g.Submit(t, taskType, func(m *broker.TaskMessage) {
		m.Payload, m.Metadata, m.RunTime = []byte(payload), md, time.Now()
	})
}
