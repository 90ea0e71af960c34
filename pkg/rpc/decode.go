package rpc

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// maxRefusedBytes is how large a request may be to be refused with a reason:
// it is read whole for that. A larger one gets gRPC's own RESOURCE_EXHAUSTED,
// sent by grpc-go before anything of ours is called.
const maxRefusedBytes = 32 << 20

// Why a request was refused is kept in it as an unknown field, since a codec
// can answer nothing but INTERNAL. Field numbers from 19000 to 19999 are no
// message's own (https://protobuf.dev/programming-guides/proto3/#assigning).
const (
	fieldTooLarge    protowire.Number = 19998
	fieldUndecodable protowire.Number = 19999
)

// decoder is the servers' codec. It refuses requests that are too large or not
// decodable; its interceptors then answer that.
type decoder struct {
	encoding.CodecV2

	// maxBytes bounds a request, limit is the one on payloads that callers are
	// told.
	maxBytes, limit int
}

// Unmarshal implements [encoding.CodecV2].
func (d decoder) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return d.CodecV2.Unmarshal(data, v)
	}
	var refusal []byte
	if data.Len() > d.maxBytes {
		refusal = protowire.AppendTag(nil, fieldTooLarge, protowire.VarintType)
		refusal = protowire.AppendVarint(refusal, uint64(data.Len()))
	} else if err := d.CodecV2.Unmarshal(data, v); err != nil {
		refusal = protowire.AppendTag(nil, fieldUndecodable, protowire.BytesType)
		refusal = protowire.AppendString(refusal, strings.ToValidUTF8(err.Error(), "\uFFFD"))
	}
	if refusal != nil {
		proto.Reset(m)
		m.ProtoReflect().SetUnknown(refusal)
	}
	return nil
}

// refusalOf says why a request was refused, nil if it was not.
func (d decoder) refusalOf(request any) error {
	m, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	unknown := m.ProtoReflect().GetUnknown()
	number, _, n := protowire.ConsumeTag(unknown)
	if n < 0 {
		return nil
	}
	switch number {
	case fieldTooLarge:
		size, _ := protowire.ConsumeVarint(unknown[n:])
		return Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE,
			"the request has %d bytes, the limit on its payload is %d; send a reference to large data instead", size, d.limit).
			With("limit_bytes", fmt.Sprint(d.limit))
	case fieldUndecodable:
		problem, _ := protowire.ConsumeString(unknown[n:])
		return undecodable(m.ProtoReflect().Descriptor(), problem)
	}
	return nil
}

func undecodable(md protoreflect.MessageDescriptor, problem string) error {
	return Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		"the request can't be decoded as %s: %s; see that the client has this server's protos", md.FullName(), problem)
}

func (d decoder) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := d.refusalOf(req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (d decoder) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &decodedStream{ss, d})
}

// decodedStream receives what the decoder did not refuse.
type decodedStream struct {
	grpc.ServerStream

	decoder decoder
}

// RecvMsg implements [grpc.ServerStream].
func (s *decodedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.decoder.refusalOf(m)
}
