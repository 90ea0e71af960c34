// Package frame passes gRPC messages on as bytes, neither decoded nor encoded. It
// uses what grpc-go calls experimental: encoding.CodecV2 and the package mem.
package frame

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec of all other messages
	"google.golang.org/grpc/mem"
)

// Frame is an encoded message. Its bytes must not change once it was sent: the
// transport writes them later.
type Frame struct{ Bytes []byte }

// Codec is gRPC's codec for protobuf, also in its name, which takes a *Frame as
// it is. Give it to grpc.ForceCodecV2 or grpc.ForceServerCodecV2.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*Frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f.Bytes)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements [encoding.CodecV2].
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*Frame); ok {
		// The buffers are freed after this.
		f.Bytes = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
