// Package images implements demo.v1.ImageService: an ordinary gRPC service
// that knows nothing of Warren. It keeps no state and may be called from any
// number of goroutines.
package images

import (
	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

// Service implements demo.v1.ImageService. Its zero value is ready for use.
type Service struct {
	demov1.UnimplementedImageServiceServer
}

// NewService returns the service.
func NewService() *Service {
	return &Service{}
}
