package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Methods of the service whose messages are all google.protobuf.BytesValue. Two of
// them can't be task types.
const (
	echoService  = "e2e.v1.EchoService"
	echoFile     = "e2e/v1/echo_service.proto"
	methodEcho   = "/" + echoService + "/Echo"
	methodRepeat = "/" + echoService + "/Repeat"
	methodUpload = "/" + echoService + "/Upload"
	methodChat   = "/" + echoService + "/Chat"
	typeEcho     = echoService + ".Echo"
)

// What a call's metadata asks of Echo and Repeat. Keys with the prefixes come back as
// headers and as trailers.
const (
	prefixEcho  = "x-echo-"
	prefixTrail = "x-trail-"
	// keyAnswerBytes is the size of Echo's answer.
	keyAnswerBytes = "x-answer-bytes"
	// keyMessages is how many messages Repeat sends, keyFailAfter after how many of
	// them it fails instead.
	keyMessages  = "x-messages"
	keyFailAfter = "x-fail-after"
	// keyFailCode is the code to fail with, keyFailAttempts up to which attempt.
	keyFailCode     = "x-fail-code"
	keyFailAttempts = "x-fail-attempts"
)

// registerEcho adds the service to a server, and its schema to the linked ones, where
// reflection finds it.
func registerEcho(s *grpc.Server) error {
	file, err := protodesc.NewFile(echoSchema(), protoregistry.GlobalFiles)
	if err != nil {
		return fmt.Errorf("make the schema of %s: %w", echoService, err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(file); err != nil {
		return fmt.Errorf("register the schema of %s: %w", echoService, err)
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: echoService, HandlerType: (*any)(nil), Metadata: echoFile,
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var r wrapperspb.BytesValue
			if err := decode(&r); err != nil {
				return nil, err
			}
			return echo(ctx, &r)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Repeat", ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error { return repeat(ss) }},
			{StreamName: "Upload", ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error { return takeOne(ss) }},
			{StreamName: "Chat", ClientStreams: true, ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error { return takeOne(ss) }},
		},
	}, struct{}{})
	return nil
}

func echoSchema() *descriptorpb.FileDescriptorProto {
	method := func(name string, client, server bool) *descriptorpb.MethodDescriptorProto {
		const message = ".google.protobuf.BytesValue"
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: proto.String(message), OutputType: proto.String(message), ClientStreaming: &client, ServerStreaming: &server,
		}
	}
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String(echoFile), Package: proto.String("e2e.v1"), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/wrappers.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("EchoService"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Echo", false, false), method("Repeat", false, true), method("Upload", true, false), method("Chat", true, true),
		}}},
	}
}

func echo(ctx context.Context, r *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if err := grpc.SetHeader(ctx, withPrefix(md, prefixEcho)); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, withPrefix(md, prefixTrail)); err != nil {
		return nil, err
	}
	if size := number(md, keyAnswerBytes, -1); size >= 0 {
		return wrapperspb.Bytes(make([]byte, size)), failedAs(md)
	}
	return r, failedAs(md)
}

func repeat(ss grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	if err := ss.RecvMsg(new(wrapperspb.BytesValue)); err != nil {
		return err
	}
	if err := ss.SetHeader(withPrefix(md, prefixEcho)); err != nil {
		return err
	}
	ss.SetTrailer(withPrefix(md, prefixTrail))
	messages := number(md, keyMessages, 0)
	for i := range messages {
		if err := failedAs(md); err != nil && i == number(md, keyFailAfter, 0) {
			return err
		}
		if err := ss.SendMsg(wrapperspb.Bytes([]byte(strconv.Itoa(i + 1)))); err != nil {
			return err
		}
	}
	if number(md, keyFailAfter, 0) < messages {
		return nil
	}
	return failedAs(md)
}

// takeOne answers the first message with itself.
func takeOne(ss grpc.ServerStream) error {
	var m wrapperspb.BytesValue
	if err := ss.RecvMsg(&m); err != nil {
		return err
	}
	return ss.SendMsg(&m)
}

func withPrefix(md metadata.MD, prefix string) metadata.MD {
	out := metadata.MD{}
	for key, values := range md {
		if strings.HasPrefix(key, prefix) {
			out[key] = values
		}
	}
	return out
}

// number is what a key's value says.
func number(md metadata.MD, key string, none int) int {
	for _, v := range md.Get(key) {
		if n, err := strconv.Atoi(v); err == nil {
			return n
		}
	}
	return none
}

func failedAs(md metadata.MD) error {
	code := codes.Code(number(md, keyFailCode, 0))
	if code == codes.OK || number(md, "warren-attempt", 1) > number(md, keyFailAttempts, 1000) {
		return nil
	}
	return status.Errorf(code, "failed as asked")
}
