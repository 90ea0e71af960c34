package registry

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// handleRequests hands start requests over before it sees to registrations, which
// take their time.
func (r *Registry) handleRequests(ctx context.Context, batch []broker.Delivery) error {
	var registrations []*brokerv1.WorkerRequest
	for _, d := range batch {
		request := &brokerv1.WorkerRequest{}
		if err := proto.Unmarshal(d.Body, request); err != nil || request.GetWorker() == nil {
			r.cfg.Logger.Error("a message in the requests queue is no request, it is dropped", "bytes", len(d.Body), "error", err)
			continue
		}
		switch {
		case request.GetRegistration() != nil:
			registrations = append(registrations, request)
		case request.GetStart() != nil:
			r.askStart(request)
		}
	}
	for _, request := range registrations {
		if err := r.answerRegistration(ctx, request, request.GetRegistration()); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) askStart(request *brokerv1.WorkerRequest) {
	start, err := broker.StartRequestFromProto(request.RequestId, request.GetStart())
	if err != nil {
		r.cfg.Logger.Error("a worker's request for a start can't be understood, it is dropped", "worker_id", request.Worker.WorkerId, "error", err)
		return
	}
	r.cfg.Starts.Ask(request.Worker.WorkerId, start)
}

// answerRegistration takes in what a worker announces and answers. An error
// means that the request is to be handled again, not that it was refused.
func (r *Registry) answerRegistration(ctx context.Context, request *brokerv1.WorkerRequest, registration *brokerv1.Registration) error {
	answer := &brokerv1.RegistrationAnswer{RequestId: request.RequestId}
	announced := catalogue.Announcement{Services: registration.Services, Files: registration.Files}
	bundle, err := r.bundle(announced)
	if err != nil {
		for _, s := range registration.Services {
			answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: s, Message: err.Error(), Service: true})
		}
	} else if err := r.take(ctx, bundle, startOf(request.Worker, time.Now()), answer); err != nil {
		return err
	}
	w := request.Worker
	r.cfg.Logger.Info("a worker has registered", "worker_id", w.WorkerId, "host", w.Host, "version", w.Version,
		"types", len(answer.Types), "refused", len(answer.Refusals))
	r.tell(ctx, w.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: answer}})
	return nil
}

// take sees to the queues of a bundle's types before anyone can submit to them.
func (r *Registry) take(ctx context.Context, bundle *catalogue.Bundle, start time.Time, answer *brokerv1.RegistrationAnswer) error {
	conflicts, err := r.declareTypes(ctx, bundle.TaskTypes())
	if err != nil {
		return err
	}
	if err := r.learn(ctx, bundle, start); err != nil {
		return err
	}
	for _, refusal := range bundle.Refusals() {
		answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: refusal.Name, Message: refusal.Message, Service: refusal.Service})
	}
	for _, taskType := range bundle.TaskTypes() {
		if slices.Contains(conflicts, taskType.Name) {
			answer.Refusals = append(answer.Refusals, r.refuseQueue(taskType.Name))
		} else if p := r.policy(taskType.Name); p != nil {
			answer.Types = append(answer.Types, p)
		}
	}
	return nil
}
