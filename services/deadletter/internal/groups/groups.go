// Package groups puts what died into failure groups by its fingerprint: arrivals as they
// come, and what was stored before in the background.
package groups

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// customKey is the ErrorInfo metadata by which a handler gives a fingerprint of its own.
const customKey = "fingerprint"

// Identify sets the fingerprint of an arrival.
func Identify(a *store.Arrival) {
	o := &a.Occurrence
	a.Fingerprint = Of(Input(a.Type, o.Cause, o.Reason, o.Failure))
}

// Input is what the fingerprint of a run is made of. The reason is that of the failure's
// ErrorInfo, unless it is known otherwise.
func Input(taskType string, cause task.Cause, reason string, f *task.Failure) fingerprint.Input {
	in := fingerprint.Input{Type: taskType, Cause: cause, Reason: reason}
	if f == nil {
		return in
	}
	in.Code, in.Message = f.Code, f.Message
	first := true
	for _, d := range f.Details {
		if d.TypeURL[strings.LastIndexByte(d.TypeURL, '/')+1:] != "google.rpc.ErrorInfo" {
			continue
		}
		m := new(errdetails.ErrorInfo)
		if proto.Unmarshal(d.Value, m) != nil {
			continue
		}
		if first {
			in.Domain, first = m.GetDomain(), false
		}
		if in.Custom = m.GetMetadata()[customKey]; in.Custom != "" {
			break
		}
	}
	return in
}

// Of is the fingerprint as the store keeps it.
func Of(in fingerprint.Input) store.Fingerprint {
	f := fingerprint.Of(in)
	return store.Fingerprint{
		GroupID: f.GroupID(), Version: fingerprint.Version, Domain: in.Domain, Message: f.Message, Custom: in.Custom,
	}
}
