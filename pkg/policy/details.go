package policy

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// ownDomain is that of the ErrorInfo in failures that Warren itself makes.
const ownDomain = "warren"

// details is what of a failure's details counts here.
type details struct {
	// Those of every google.rpc.ErrorInfo.
	infos []info
	// The delay of the first google.rpc.RetryInfo that has one.
	delay    time.Duration
	hasDelay bool
}

type info struct{ reason, domain string }

// read decodes the details. One that can't be decoded says nothing, and takes
// nothing from the others.
func read(f *task.Failure) details {
	var out details
	if f == nil {
		return out
	}
	for _, d := range f.Details {
		switch d.TypeURL[strings.LastIndexByte(d.TypeURL, '/')+1:] {
		case "google.rpc.ErrorInfo":
			m := new(errdetails.ErrorInfo)
			if proto.Unmarshal(d.Value, m) == nil {
				out.infos = append(out.infos, info{m.GetReason(), m.GetDomain()})
			}
		case "google.rpc.RetryInfo":
			m := new(errdetails.RetryInfo)
			if !out.hasDelay && proto.Unmarshal(d.Value, m) == nil && m.GetRetryDelay().CheckValid() == nil {
				out.delay, out.hasDelay = m.GetRetryDelay().AsDuration(), true
			}
		}
	}
	return out
}

// Reason is the reason of the first google.rpc.ErrorInfo in a failure, empty
// without one.
func Reason(f *task.Failure) string {
	if infos := read(f).infos; len(infos) > 0 {
		return infos[0].reason
	}
	return ""
}

// hopeless is the cause of a failure of Warren's own that no rule and no delay
// can make retryable, and its reason; 0 for any other.
func (d details) hopeless() (task.Cause, string) {
	for _, i := range d.infos {
		if i.domain != ownDomain {
			continue
		}
		if cause := hopelessReason(i.reason); cause != 0 {
			return cause, i.reason
		}
	}
	return 0, ""
}

func hopelessReason(reason string) task.Cause {
	switch taskv1.ErrorReason(taskv1.ErrorReason_value["ERROR_REASON_"+reason]) {
	case taskv1.ErrorReason_ERROR_REASON_PAYLOAD_UNDECODABLE, taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE:
		return task.CauseUndecodable
	case taskv1.ErrorReason_ERROR_REASON_RESULT_TOO_LARGE, taskv1.ErrorReason_ERROR_REASON_STREAM_TOO_LARGE:
		return task.CausePermanentFailure
	}
	return 0
}
