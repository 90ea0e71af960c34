package worker

import (
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// news says which parts of a policy are no older than what a worker has taken over.
type news struct{ options, slots, pause bool }

// newsOf compares a policy with what was taken over, nil for nothing. What has no version
// is news. The slots of a worker's own stand above those for all, whichever version
// these have.
func newsOf(t *brokerv1.TypePolicy, known *brokerv1.PolicyVersion) news {
	if t.Version == nil || corrects(t, known) {
		return news{options: true, slots: true, pause: true}
	}
	v := t.Version
	n := news{options: v.Override >= known.GetOverride(), pause: v.Control >= known.GetControl()}
	if n.slots = v.Worker >= known.GetWorker(); v.Worker == 0 {
		n.slots = n.slots && n.pause
	}
	return n
}

// corrects says whether a policy is to be taken over though it is older: the store has
// nothing newer.
func corrects(t *brokerv1.TypePolicy, known *brokerv1.PolicyVersion) bool {
	return t.Corrects != nil && proto.Equal(t.Corrects, known)
}

// after is the version of what was taken over once a policy was too, but for its
// options if these can't be used.
func after(t *brokerv1.TypePolicy, known *brokerv1.PolicyVersion, usable bool) *brokerv1.PolicyVersion {
	if t.Version == nil {
		return known
	}
	if corrects(t, known) {
		known = nil
	}
	next := &brokerv1.PolicyVersion{
		Control: max(t.Version.Control, known.GetControl()), Worker: max(t.Version.Worker, known.GetWorker()), Override: known.GetOverride(),
	}
	if usable {
		next.Override = max(t.Version.Override, next.Override)
	}
	return next
}
