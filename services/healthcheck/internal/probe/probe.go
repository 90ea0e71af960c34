// Package probe asks a process whether it is healthy.
package probe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// maxReason is how much of an answer an error quotes.
const maxReason = 1 << 10

// Check is nil if what target names is healthy: an http:// URL answers 200, or a
// gRPC target, without TLS, is SERVING by gRPC's health protocol. Else the error says
// why not; ctx bounds the wait.
func Check(ctx context.Context, target string) error {
	if strings.HasPrefix(target, "http://") {
		return checkHTTP(ctx, target)
	}
	return checkGRPC(ctx, target)
}

func checkHTTP(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	// What could be read of the reason is better than nothing.
	reason, _ := io.ReadAll(io.LimitReader(response.Body, maxReason))
	return fmt.Errorf("%s answers %s: %s", url, response.Status, bytes.TrimSpace(reason))
}

func checkGRPC(ctx context.Context, target string) error {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("ask %s: %w", target, err)
	}
	defer func() { _ = conn.Close() }()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("ask %s for its health: %w", target, err)
	}
	if answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s is %s", target, answer.GetStatus())
	}
	return nil
}
