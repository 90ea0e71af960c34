// Package schema knows what the payloads of task types are, as the gateway does now: it
// asks for a type's descriptors, and checks payloads by the same code that the gateway
// checks submissions with.
package schema

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
)

// Why nothing can be said of a payload. That it is wrong is an error of
// [github.com/warrenmq/warren/pkg/catalogue.PayloadError].
var (
	// ErrGateway: the gateway does not say what the type's payloads are.
	ErrGateway = errors.New("the gateway does not answer")
	// ErrUnknownType: the gateway does not know the task type, or has retired it.
	ErrUnknownType = errors.New("the task type is not known")
)

// Gateway is the gateway's catalogue.
type Gateway interface {
	GetTaskType(ctx context.Context, r *adminv1.GetTaskTypeRequest, opts ...grpc.CallOption) (*adminv1.GetTaskTypeResponse, error)
	GetServerInfo(ctx context.Context, r *adminv1.GetServerInfoRequest, opts ...grpc.CallOption) (*adminv1.GetServerInfoResponse, error)
}

// Schemas checks payloads. It is safe for concurrent use. Besides what its methods say,
// each fails with [ErrGateway] or [ErrUnknownType], or the context's error.
type Schemas struct {
	gateway Gateway
	cache   *cache
}

// New makes it; it asks when it is first asked itself.
func New(gateway Gateway) *Schemas { return &Schemas{gateway, newCache()} }

// Check says whether the gateway would take the payload for a task of the type: whether
// it can be decoded and keeps its rules (buf.validate, predefined ones included). If not,
// the error is a *catalogue.PayloadError.
func (s *Schemas) Check(ctx context.Context, taskType string, payload []byte) error {
	t, err := s.taskType(ctx, taskType)
	if err != nil {
		return err
	}
	return t.Validate(payload)
}

// MaxPayloadBytes is the largest payload that the gateway takes.
func (s *Schemas) MaxPayloadBytes(ctx context.Context) (int64, error) {
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := s.gateway.GetServerInfo(ask, &adminv1.GetServerInfoRequest{})
	switch {
	case err == nil:
		return info.GetServer().GetLimits().GetMaxPayloadBytes(), nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	return 0, fmt.Errorf("%w: ask for its limits: %w", ErrGateway, err)
}
