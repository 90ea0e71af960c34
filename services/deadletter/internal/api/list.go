package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	defaultPage = 50
	maxPage     = 500
	// maxPageBytes bounds a page, unless its first dead letter is larger. It stays
	// below what gRPC clients receive by default, 4 MiB.
	maxPageBytes = 4<<20 - 4<<10
	// maxPayloadShown is the largest payload that is shown beside the message,
	// whose body it is.
	maxPayloadShown = 1 << 20
)

// ListDeadLetters implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListDeadLetters(ctx context.Context, r *deadletterv1.ListDeadLettersRequest) (*deadletterv1.ListDeadLettersResponse, error) {
	after, err := parsePageToken(r)
	if err != nil {
		return nil, err
	}
	f, err := store.Fields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	full := isFull(r.View)
	page, err := s.cfg.Store.List(ctx, store.Query{Filter: f, After: after, Limit: pageSize(r.PageSize, maxPage), Full: full})
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListDeadLettersResponse{}
	bytes := 0
	for n := range page.DeadLetters {
		d := &page.DeadLetters[n]
		m := s.show(ctx, d, full)
		bytes += proto.Size(m) + 8
		if n > 0 && bytes > maxPageBytes {
			page.More = true
			break
		}
		out.DeadLetters, after = append(out.DeadLetters, m), d.Sequence
	}
	if page.More {
		out.NextPageToken = token(pageTag(r), after)
	}
	return out, nil
}
