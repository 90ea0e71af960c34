package broker

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/google/uuid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// StartRequestToProto is the wire form of a start request.
func StartRequestToProto(r task.StartRequest) *brokerv1.StartRequest {
	return &brokerv1.StartRequest{
		RequestId: r.RequestID, TaskId: r.TaskID, Type: r.Type, Run: int32(r.Run), Attempt: int32(r.Attempt), Copy: r.Copy[:],
		Delivery: r.Delivery, SettledDelivery: r.SettledDelivery, Failed: r.Failed, Resend: r.Resend, AtMostOnce: r.AtMostOnce,
		PutOffFrom: r.PutOffFrom, PutOffTo: r.PutOffTo,
	}
}

// StartRequestsFromProto are the start requests of a message, and what is wrong with the
// others.
func StartRequestsFromProto(m *brokerv1.WorkerRequest) ([]task.StartRequest, error) {
	all := m.GetStarts().GetRequests()
	if m.GetStart() != nil {
		all = []*brokerv1.StartRequest{m.GetStart()}
	}
	var requests []task.StartRequest
	var errs []error
	for _, one := range all {
		r, err := StartRequestFromProto(cmp.Or(one.RequestId, m.RequestId), one)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		requests = append(requests, r)
	}
	return requests, errors.Join(errs...)
}

// StartRequestFromProto is the inverse of [StartRequestToProto], checked.
func StartRequestFromProto(requestID string, m *brokerv1.StartRequest) (task.StartRequest, error) {
	r := task.StartRequest{
		RequestID: requestID, TaskID: m.TaskId, Type: m.Type, Run: int(m.Run), Attempt: int(m.Attempt),
		Delivery: m.Delivery, SettledDelivery: m.SettledDelivery, Failed: m.Failed, Resend: m.Resend, AtMostOnce: m.AtMostOnce,
		PutOffFrom: m.PutOffFrom, PutOffTo: m.PutOffTo,
	}
	if _, err := uuid.Parse(m.TaskId); err != nil {
		return r, fmt.Errorf("a start request for the task id %q", m.TaskId)
	}
	if requestID == "" || m.Run < 1 || m.Attempt < 1 || m.Delivery < 1 || len(m.Copy) != len(r.Copy) {
		return r, errors.New("a start request without id, run, attempt, delivery or copy")
	}
	r.Copy = task.Copy(m.Copy)
	return r, nil
}

// StartAnswerToProto is the wire form of an answer.
func StartAnswerToProto(requestID string, a task.StartAnswer) (*brokerv1.StartAnswer, error) {
	m := &brokerv1.StartAnswer{RequestId: requestID, Verdict: brokerv1.StartVerdict(a.Verdict), Crashes: int32(a.Crashes)}
	var err error
	if a.Outcome != nil {
		if m.Outcome, err = eventToProto(a.Outcome); err != nil {
			return nil, fmt.Errorf("encode the outcome on record: %w", err)
		}
	}
	if a.Crashed != nil {
		if m.Crashed, err = eventToProto(a.Crashed); err != nil {
			return nil, fmt.Errorf("encode the start on record: %w", err)
		}
	}
	return m, nil
}

// StartAnswerFromProto is the inverse of [StartAnswerToProto], checked.
func StartAnswerFromProto(m *brokerv1.StartAnswer) (task.StartAnswer, error) {
	a := task.StartAnswer{Verdict: task.StartVerdict(m.Verdict), Crashes: int(m.Crashes)}
	if m.Outcome != nil {
		e, err := eventFromProto(m.Outcome)
		if err != nil {
			return a, err
		}
		a.Outcome = &e
	}
	if m.Crashed != nil {
		e, err := eventFromProto(m.Crashed)
		if err != nil {
			return a, err
		}
		a.Crashed = &e
	}
	switch {
	case a.Verdict < task.VerdictStart || a.Verdict > task.VerdictGiveUp:
		return a, fmt.Errorf("the verdict %d is unknown", m.Verdict)
	case a.Verdict == task.VerdictRepeat && a.Outcome == nil:
		return a, errors.New("a REPEAT without an outcome")
	}
	return a, nil
}
