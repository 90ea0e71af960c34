package gateway

import (
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/serverinfo"
	"github.com/warrenmq/warren/services/gateway/internal/api"
)

// overhead is what a request may have besides payloads of the largest size.
const overhead = 4 << 20

// maxMessageBytes bounds a request and an answer.
func maxMessageBytes(maxPayloadBytes int) int {
	return max(maxPayloadBytes, api.MaxBatchBytes) + overhead
}

// serverInfo is what the gateway says of itself.
func (g *gateway) serverInfo(id string) *serverinfo.Server {
	return &serverinfo.Server{
		Service: "gateway", InstanceID: id, Started: time.Now(), Namespace: g.cfg.Broker.Namespace,
		Connections: []serverinfo.Connection{g.consume, g.publish}, StoreURL: g.cfg.StoreURL,
		Limits: &adminv1.ServerLimits{
			MaxPayloadBytes: int64(g.cfg.MaxPayloadBytes), MaxMessageBytes: int64(maxMessageBytes(g.cfg.MaxPayloadBytes)),
			MaxBatchTasks: api.MaxBatchTasks, MaxBatchBytes: api.MaxBatchBytes,
		},
		Management: g.management != nil, Profiling: g.cfg.Profiling,
	}
}
