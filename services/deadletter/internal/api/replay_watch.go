package api

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// watchRest is the least time between two messages about a replay.
	watchRest = 100 * time.Millisecond
	// replayRecheck is recheck for replays, whose counts change by time too.
	replayRecheck = time.Second
)

// WatchReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) WatchReplay(r *deadletterv1.WatchReplayRequest, stream grpc.ServerStreamingServer[deadletterv1.WatchReplayResponse]) error {
	var shown *deadletterv1.Replay
	return s.follow(stream.Context(), r.ReplayId, watchRest, func(now *store.Replay) (bool, error) {
		m := listed(replayToProto(now))
		if !proto.Equal(m, shown) {
			if err := stream.Send(&deadletterv1.WatchReplayResponse{Replay: m}); err != nil {
				return true, err
			}
			shown = m
		}
		return m.EndTime != nil, nil
	})
}

// follow has see look at a replay again and again as it changes, with a rest in between,
// until see says that it has seen enough.
func (s *Service) follow(ctx context.Context, id string, rest time.Duration, see func(*store.Replay) (enough bool, err error)) error {
	for {
		news := s.cfg.Hub.next()
		now, err := s.cfg.Store.Replay(ctx, id)
		if err != nil {
			return answer(err)
		}
		if enough, err := see(&now); enough || err != nil {
			return err
		}
		if err := s.await(ctx, nil, rest); err != nil {
			return err
		}
		if err := s.await(ctx, news, replayRecheck); err != nil {
			return err
		}
	}
}
