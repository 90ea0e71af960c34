package service

import (
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/serverinfo"
	"github.com/warrenmq/warren/pkg/task"
)

// serverInfo is what the service says of itself.
func (s *service) serverInfo() *serverinfo.Server {
	return &serverinfo.Server{
		Service: "deadletter", InstanceID: task.NewID(), Started: time.Now(), Namespace: s.cfg.Broker.Namespace,
		Connections: []serverinfo.Connection{s.consume, s.publish}, StoreURL: s.cfg.StoreURL,
		Limits: &adminv1.ServerLimits{MaxMessageBytes: maxMessageBytes}, Profiling: s.cfg.Profiling,
	}
}
