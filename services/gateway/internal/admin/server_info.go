package admin

import (
	"context"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
)

// GetServerInfo implements warren.admin.v1.AdminService.
func (s *Service) GetServerInfo(context.Context, *adminv1.GetServerInfoRequest) (*adminv1.GetServerInfoResponse, error) {
	return &adminv1.GetServerInfoResponse{Server: s.cfg.Info()}, nil
}
