package api

import (
	"context"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
)

// GetServerInfo implements warren.deadletter.v1.DeadLetterService.
func (s *Service) GetServerInfo(context.Context, *deadletterv1.GetServerInfoRequest) (*deadletterv1.GetServerInfoResponse, error) {
	return &deadletterv1.GetServerInfoResponse{Server: s.cfg.Info()}, nil
}
