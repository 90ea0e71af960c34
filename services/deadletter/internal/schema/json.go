package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// Encode makes a payload of the JSON of its message (ProtoJSON). It does not check it
// further: see [Schemas.Check]. JSON that is no such message is a
// *catalogue.PayloadError with the path of what is wrong, if that can be told.
func (s *Schemas) Encode(ctx context.Context, taskType string, text []byte) ([]byte, error) {
	t, err := s.taskType(ctx, taskType)
	if err != nil {
		return nil, err
	}
	// Required fields are Check's matter.
	read := protojson.UnmarshalOptions{Resolver: t.Resolver(), AllowPartial: true}
	m := dynamicpb.NewMessage(t.Input)
	if err := read.Unmarshal(text, m); err != nil {
		return nil, &catalogue.PayloadError{
			Type: t.Name, Input: t.Input.FullName(), Field: locate(read, t.Input, text),
			Err: fmt.Errorf("%w: %w", catalogue.ErrPayloadUndecodable, plain(err)),
		}
	}
	payload, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the payload of a task of type %s: %w", taskType, err)
	}
	return payload, nil
}

// JSON renders a payload for people, one value in a line. What its message has no field
// for is left out. A payload that can't be decoded is a [*catalogue.PayloadError].
func (s *Schemas) JSON(ctx context.Context, taskType string, payload []byte) ([]byte, error) {
	t, err := s.taskType(ctx, taskType)
	if err != nil {
		return nil, err
	}
	text, err := render(t, payload)
	if err != nil {
		return nil, &catalogue.PayloadError{
			Type: t.Name, Input: t.Input.FullName(), Err: fmt.Errorf("%w: %w", catalogue.ErrPayloadUndecodable, plain(err)),
		}
	}
	return indent(text)
}

func render(t catalogue.TaskType, payload []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(t.Input)
	if err := (proto.UnmarshalOptions{Resolver: t.Resolver(), AllowPartial: true}).Unmarshal(payload, m); err != nil {
		return nil, err
	}
	// Fails on a google.protobuf.Any of an unknown type, say.
	return protojson.MarshalOptions{Resolver: t.Resolver(), AllowPartial: true}.Marshal(m)
}

// indent makes the white space the same everywhere, which protojson does not.
func indent(text []byte) ([]byte, error) {
	var compact, out bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("indent a payload: %w", err)
	}
	if err := json.Indent(&out, compact.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("indent a payload: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

// plain is an error of protojson without the spaces in it that are none.
func plain(err error) error { return errors.New(strings.ReplaceAll(err.Error(), "\u00a0", " ")) }
