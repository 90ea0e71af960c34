package api

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func groupToProto(g *store.Group) *deadletterv1.FailureGroup {
	m := &deadletterv1.FailureGroup{
		GroupId: g.ID, State: deadletterv1.FailureGroupState(g.State), Type: g.Type, Cause: taskv1.Cause(g.Cause), Code: int32(g.Code),
		Domain: g.Domain, Reason: g.Reason, Message: g.Message, CustomFingerprint: g.Custom, FingerprintVersion: int32(g.FingerprintVersion),
		Count: g.Count, DeadLetterCount: g.DeadLetters, OpenCount: g.Open,
		FirstSeenTime: timestamp(g.FirstSeen), LastSeenTime: timestamp(g.LastSeen), StateTime: timestamp(g.StateTime),
		Note: g.Note, MuteUntilTime: timestamp(g.MuteUntil), Etag: g.Etag,
	}
	for _, h := range g.Hours {
		m.Hours = append(m.Hours, &deadletterv1.HourCount{StartTime: timestamp(h.Start), Count: h.Count})
	}
	for _, x := range g.Samples {
		m.SampleDeadLetterIds = append(m.SampleDeadLetterIds, x.DeadLetterID)
		if x.TraceID != "" {
			m.SampleTraceIds = append(m.SampleTraceIds, x.TraceID)
		}
	}
	for _, v := range g.Versions {
		m.WorkerVersions = append(m.WorkerVersions, &deadletterv1.VersionCount{Version: v.Version, Count: v.Count})
	}
	return m
}

// optionalTime is a time of a request; zero if unset.
func optionalTime(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, badField(field, "it must be a time in the years 1 to 9999")
	}
	return t.AsTime(), nil
}

// groupsTag binds the token of a page of groups to the other arguments.
func groupsTag(filter string, order store.GroupOrder) uint64 {
	return tagOf("groups", strconv.Itoa(int(order)), filter)
}

// groupsToken is opaque to callers: the tag, and a place.
func groupsToken(tag uint64, place store.GroupPlace) string {
	b := binary.BigEndian.AppendUint64(nil, tag)
	b = binary.AppendVarint(b, place.Value)
	return base64.RawURLEncoding.EncodeToString(binary.AppendVarint(b, place.Sequence))
}

// parseGroupsToken gives the place after which to go on, nil for the first page.
func parseGroupsToken(tag uint64, text string) (*store.GroupPlace, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(b) > 8 && binary.BigEndian.Uint64(b) == tag {
		value, n := binary.Varint(b[8:])
		if n > 0 {
			sequence, m := binary.Varint(b[8+n:])
			if m > 0 && 8+n+m == len(b) {
				return &store.GroupPlace{Value: value, Sequence: sequence}, nil
			}
		}
	}
	return nil, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
		"the page token is not one of this request's; leave it out to begin with the first page").
		Field("page_token", "not a token of a request with these arguments")
}
