package schema

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

const (
	// askTimeout bounds a question to the gateway.
	askTimeout = 5 * time.Second
	// maxAnswer bounds its answer: descriptors of up to 4 MiB, and as much of text.
	maxAnswer = 16 << 20
	// filesField is that of google.protobuf.FileDescriptorSet.
	filesField = 1
)

// limits are generous: what the gateway has, it has checked by its own.
var limits = catalogue.Limits{MaxBytes: maxAnswer, MaxFiles: 10_000, MaxElements: 4 * catalogue.DefaultMaxElements, MaxImportPaths: 4 * catalogue.DefaultMaxImportPaths}

// taskType is a type as the gateway knows it now.
func (s *Schemas) taskType(ctx context.Context, name string) (catalogue.TaskType, error) {
	name = catalogue.TypeName(name)
	return s.cache.entry(name).get(ctx, func(ctx context.Context) (catalogue.TaskType, error) { return s.ask(ctx, name) })
}

func (s *Schemas) ask(ctx context.Context, name string) (catalogue.TaskType, error) {
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := s.gateway.GetTaskType(bounded, &adminv1.GetTaskTypeRequest{Name: name}, grpc.MaxCallRecvMsgSize(maxAnswer))
	switch {
	case err == nil:
		return s.build(name, answer)
	case ctx.Err() != nil:
		return catalogue.TaskType{}, ctx.Err()
	case status.Code(err) == codes.NotFound:
		return catalogue.TaskType{}, fmt.Errorf("%w: %s", ErrUnknownType, name)
	}
	return catalogue.TaskType{}, fmt.Errorf("%w: ask for the task type %s: %w", ErrGateway, name, err)
}

// build makes a type of the descriptors of its service, as the gateway did when a worker
// announced them.
func (s *Schemas) build(name string, answer *adminv1.GetTaskTypeResponse) (catalogue.TaskType, error) {
	set := answer.GetSchema().GetDescriptorSet()
	bundle, err := s.cache.bundle(sha256.Sum256(set), func() (*catalogue.Bundle, error) {
		files, err := filesOf(set)
		if err != nil {
			return nil, err
		}
		return catalogue.Build(catalogue.Announcement{Services: []string{serviceOf(name)}, Files: files}, limits)
	})
	if err != nil {
		return catalogue.TaskType{}, fmt.Errorf("read the descriptors of the task type %s: %w", name, err)
	}
	types := bundle.TaskTypes()
	if i := slices.IndexFunc(types, func(t catalogue.TaskType) bool { return t.Name == name }); i >= 0 {
		return types[i], nil
	}
	return catalogue.TaskType{}, fmt.Errorf("read the descriptors of the task type %s: they have no such type: %v", name, bundle.Refusals())
}

// serviceOf is what has the method.
func serviceOf(taskType string) string {
	return taskType[:max(0, strings.LastIndexByte(taskType, '.'))]
}

// filesOf are the encoded files of an encoded google.protobuf.FileDescriptorSet, byte for
// byte: which extensions their options have is learned from the files themselves.
func filesOf(set []byte) ([][]byte, error) {
	var files [][]byte
	for len(set) > 0 {
		number, kind, n := protowire.ConsumeTag(set)
		if n < 0 {
			return nil, fmt.Errorf("decode a set of files: %w", protowire.ParseError(n))
		}
		if number != filesField || kind != protowire.BytesType {
			return nil, errors.New("decode a set of files: there is something else in it")
		}
		file, size := protowire.ConsumeBytes(set[n:])
		if size < 0 {
			return nil, fmt.Errorf("decode a set of files: %w", protowire.ParseError(size))
		}
		files, set = append(files, file), set[n+size:]
	}
	return files, nil
}
