package api

import (
	"context"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// maxMetadataValues bounds the values of a caller's metadata, so that what each
// takes besides its bytes leaves room for the labels in a message's header.
const maxMetadataValues = 1000

// callerMetadata is what of a call's metadata travels with the tasks that it
// submits; nil for nothing. Values are raw bytes, those of `-bin` keys too. Beyond
// [task.MaxMetadata] it is INVALID_ARGUMENT INVALID_REQUEST.
func callerMetadata(ctx context.Context) (map[string][][]byte, error) {
	// The copy that this makes is the call's own. Of a call that brings nothing it
	// is all that is spent.
	md, _ := metadata.FromIncomingContext(ctx)
	travelling := task.Travelling(md)
	if travelling == nil {
		return nil, nil
	}
	values := 0
	for _, vs := range travelling {
		values += len(vs)
	}
	if size := travelling.Size(); size > task.MaxMetadata || values > maxMetadataValues {
		return nil, metadataTooLarge(travelling, size, values)
	}
	out := make(map[string][][]byte, len(travelling))
	for key, vs := range travelling {
		raw := make([][]byte, len(vs))
		for i, v := range vs {
			raw[i] = []byte(v)
		}
		out[key] = raw
	}
	return out, nil
}

func metadataTooLarge(md task.Metadata, size, values int) error {
	largest, most := "", -1
	for key, vs := range md {
		n := task.Metadata{key: vs}.Size()
		if n > most || n == most && key < largest {
			largest, most = key, n
		}
	}
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		"nothing was submitted: the call's metadata that would travel with the task has %d bytes in %d values, the limit is %d bytes in %d values; the largest key is %q with %d bytes",
		size, values, task.MaxMetadata, maxMetadataValues, valid(largest), most).
		With("size_bytes", strconv.Itoa(size)).With("limit_bytes", strconv.Itoa(task.MaxMetadata)).With("largest_key", valid(largest)).
		Field("metadata", "too large")
}
