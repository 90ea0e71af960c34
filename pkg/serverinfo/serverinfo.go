// Package serverinfo says what a server is, for its GetServerInfo.
package serverinfo

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// Connection is one to the broker, as [broker.Connection] is.
type Connection interface {
	Peer() (broker.Peer, bool)
}

// Server is one server process. Its fields are required, but for those of what it has
// not.
type Server struct {
	// Service is which one of Warren's it is.
	Service string
	// InstanceID tells processes apart.
	InstanceID string
	// Started is when it was.
	Started time.Time
	// Namespace is the prefix of names in the broker.
	Namespace string
	// Connections are tried in turn for one that is open.
	Connections []Connection
	// StoreURL is as pkg/sqldb has it. No more than its kind is told.
	StoreURL string
	// Limits are what it takes.
	Limits *adminv1.ServerLimits
	// Management and Profiling say what it was started with.
	Management, Profiling bool
}

// Info is what there is to say now.
func (s *Server) Info() *adminv1.ServerInfo {
	build := buildinfo.Read()
	tracing, metrics := telemetry.On()
	return &adminv1.ServerInfo{
		Service: s.Service, Version: build.Version, Commit: build.Commit, GoVersion: build.GoVersion,
		InstanceId: s.InstanceID, StartTime: timestamppb.New(s.Started), Namespace: s.Namespace,
		Broker: s.broker(), Store: s.store(), Limits: s.Limits,
		Features: &adminv1.ServerFeatures{Management: s.Management, Metrics: metrics, Tracing: tracing, Profiling: s.Profiling},
	}
}

func (s *Server) broker() *adminv1.BrokerInfo {
	for _, c := range s.Connections {
		if p, ok := c.Peer(); ok {
			return &adminv1.BrokerInfo{Connected: true, Product: p.Product, Version: p.Version, Cluster: p.Cluster, Node: p.Address}
		}
	}
	return &adminv1.BrokerInfo{}
}

func (s *Server) store() *adminv1.StoreInfo {
	info := &adminv1.StoreInfo{Kind: sqldb.Kind(s.StoreURL)}
	if n, err := sqldb.Size(s.StoreURL); err == nil {
		info.SizeBytes = &n
	}
	return info
}
