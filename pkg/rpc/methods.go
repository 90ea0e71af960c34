package rpc

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// methods knows which calls are traced and measured by their names: those of a
// server's registered services, gRPC's own aside, and those that are known besides.
type methods struct {
	// registered is asked for the first time by a call, when all services are there.
	registered func() map[string]bool
	besides    func(fullMethod string) bool
}

func newMethods(server func() *grpc.Server, besides func(string) bool) *methods {
	return &methods{besides: besides, registered: sync.OnceValue(func() map[string]bool {
		all := map[string]bool{}
		for service, info := range server().GetServiceInfo() {
			for _, m := range info.Methods {
				all["/"+service+"/"+m.Name] = !isPlumbing(service)
			}
		}
		return all
	})}
}

func (m *methods) known(fullMethod string) bool {
	return m.registered()[fullMethod] || m.besides != nil && m.besides(fullMethod)
}

// traced is a filter of otelgrpc.
func (m *methods) traced(info *stats.RPCTagInfo) bool { return m.known(info.FullMethodName) }
