package registry

import (
	"context"

	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// handleRequests hands requests over and waits for none of them: those that get
// lost, their workers repeat until they are answered.
func (r *Registry) handleRequests(_ context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		request := &brokerv1.WorkerRequest{}
		if err := proto.Unmarshal(d.Body, request); err != nil || request.GetWorker() == nil {
			r.cfg.Logger.Error("a message in the requests queue is no request, it is dropped", "bytes", len(d.Body), "error", err)
			continue
		}
		switch {
		case request.GetRegistration() != nil:
			r.askRegistration(request)
		case request.GetStart() != nil, request.GetStarts() != nil:
			r.askStarts(request)
		case request.GetSync() != nil:
			r.askSync(request)
		}
	}
	return nil
}

func (r *Registry) askStarts(request *brokerv1.WorkerRequest) {
	starts, err := broker.StartRequestsFromProto(request)
	if err != nil {
		r.cfg.Logger.Error("a worker's request for a start can't be understood, it is dropped", "worker_id", request.Worker.WorkerId, "error", err)
	}
	r.cfg.Starts.Ask(request.Worker.WorkerId, starts...)
}
