package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// revisionsToProto are the payload revisions of a full dead letter. Of one that nobody
// has revised there is the original, whose payload is the message's body and shown there.
func revisionsToProto(d *store.DeadLetter) []*deadletterv1.PayloadRevision {
	all := d.Revisions
	if len(all) == 0 {
		digest := sha256.Sum256(d.Message.Body)
		all = []store.Revision{{Number: 1, Size: int64(len(d.Message.Body)), SHA256: digest[:], Omitted: true}}
	}
	out := make([]*deadletterv1.PayloadRevision, len(all))
	for i := range all {
		out[i] = revisionToProto(&all[i], d)
	}
	return out
}

func revisionToProto(r *store.Revision, d *store.DeadLetter) *deadletterv1.PayloadRevision {
	m := &deadletterv1.PayloadRevision{
		Revision: int32(r.Number), CreateTime: timestamp(r.Time), Actor: r.Actor, Reason: r.Reason,
		Size: r.Size, Sha256: hex.EncodeToString(r.SHA256), Diff: r.Diff, Payload: r.Payload, Omitted: r.Omitted,
	}
	if r.Number == 1 {
		m.CreateTime = timestamp(d.FirstDeadTime)
	}
	return m
}

// showRevision has a full dead letter show payload and diff of one revision.
func (s *Service) showRevision(ctx context.Context, m *deadletterv1.DeadLetter, d *store.DeadLetter, number int32) error {
	if int(number) > len(m.Revisions) {
		return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
			"the dead letter has %d payload revisions, and no %d", len(m.Revisions), number).
			Field("payload_revision", fmt.Sprintf("at most %d", len(m.Revisions)))
	}
	shown := m.Revisions[number-1]
	if !shown.Omitted {
		return nil
	}
	r, ok, err := s.cfg.Store.Revision(ctx, d.Sequence, int(number))
	if err != nil {
		return answer(err)
	}
	if ok {
		shown.Payload, shown.Diff, shown.Omitted = r.Payload, r.Diff, false
	}
	return nil
}
