package registry

import (
	"context"
	"slices"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// registrationKey is what a registration and its repetitions have in common.
type registrationKey struct {
	workerID, requestID string
}

func keyOf(request *brokerv1.WorkerRequest) registrationKey {
	return registrationKey{request.GetWorker().GetWorkerId(), request.GetRequestId()}
}

// askRegistration hands a registration over to Run and never blocks. It drops one
// that repeats another which is not done yet, and any while too many wait.
func (r *Registry) askRegistration(request *brokerv1.WorkerRequest) {
	key := keyOf(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.registering[key] {
		return
	}
	select {
	case r.registrations <- request:
		r.registering[key] = true
	default:
		r.full.Do(func() {
			r.cfg.Logger.Warn("too many registrations wait, workers have to repeat them", "waiting", maxRegistrations)
		})
	}
}

// serveRegistrations answers one registration after the other, until ctx ends.
func (r *Registry) serveRegistrations(ctx context.Context) {
	for {
		select {
		case request := <-r.registrations:
			r.serveRegistration(ctx, request)
		case <-ctx.Done():
			return
		}
	}
}

func (r *Registry) serveRegistration(ctx context.Context, request *brokerv1.WorkerRequest) {
	err := r.answerRegistration(ctx, request)
	if err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("a registration can't be answered now, the worker has to repeat it", "worker_id", request.Worker.WorkerId, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.registering, keyOf(request))
}

// answerRegistration takes in what a worker announces and answers. An error
// means that the request is to come again, not that it was refused.
func (r *Registry) answerRegistration(ctx context.Context, request *brokerv1.WorkerRequest) error {
	registration := request.GetRegistration()
	answer := &brokerv1.RegistrationAnswer{RequestId: request.RequestId}
	announced := catalogue.Announcement{Services: registration.Services, Files: registration.Files}
	bundle, err := r.bundle(announced)
	if err != nil {
		for _, s := range registration.Services {
			answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: s, Message: err.Error(), Service: true})
		}
	} else if err := r.take(ctx, bundle, request.Worker, answer); err != nil {
		return err
	}
	w := request.Worker
	r.cfg.Logger.Info("a worker has registered", "worker_id", w.WorkerId, "host", w.Host, "version", w.Version,
		"types", len(answer.Types), "refused", len(answer.Refusals))
	r.tell(ctx, w.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: answer}})
	return nil
}

// take sees to the queues of a bundle's types before anyone can submit to them.
func (r *Registry) take(ctx context.Context, bundle *catalogue.Bundle, w *brokerv1.WorkerIdentity, answer *brokerv1.RegistrationAnswer) error {
	// What does not fit in shall have no queues either; and it is looked at again
	// once they are there, because others register meanwhile.
	start := startOf(w, time.Now())
	v, err := r.compare(bundle, start)
	if err != nil || v.refused != nil {
		answer.Refusals = v.refused
		return err
	}
	undisturbed := r.noRetirement()
	conflicts, err := r.declareTypes(ctx, bundle.TaskTypes())
	if err != nil {
		return err
	}
	if answer.Refusals, err = r.admit(ctx, bundle, start); err != nil || answer.Refusals != nil {
		return err
	}
	if !undisturbed() {
		if conflicts, err = r.declareTypes(ctx, bundle.TaskTypes()); err != nil {
			return err
		}
	}
	for _, refusal := range bundle.Refusals() {
		answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: refusal.Name, Message: refusal.Message, Service: refusal.Service})
	}
	for _, taskType := range bundle.TaskTypes() {
		if slices.Contains(conflicts, taskType.Name) {
			answer.Refusals = append(answer.Refusals, r.refuseQueue(taskType.Name))
		} else if p := r.policy(w.WorkerId, taskType.Name); p != nil {
			answer.Types = append(answer.Types, p)
		}
	}
	return nil
}
