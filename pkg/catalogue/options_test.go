package catalogue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

const optionNumber = 51707

func descriptorFile() *fileProto {
	return protodesc.ToFileDescriptorProto(descriptorpb.File_google_protobuf_descriptor_proto)
}

// optionFiles are the files that define our option, imports first.
func optionFiles(t testing.TB) []*fileProto {
	t.Helper()
	var out []*fileProto
	seen := make(map[string]bool)
	var visit func(protoreflect.FileDescriptor)
	visit = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			visit(file.Imports().Get(i).FileDescriptor)
		}
		out = append(out, protodesc.ToFileDescriptorProto(file))
	}
	visit(taskv1.File_warren_task_v1_options_proto)
	return out
}

func optionedFile(options *descriptorpb.MethodOptions) *fileProto {
	file := echoFile("echo.proto", "acme", "Echoes", "text")
	file.Service[0].Method[0].Options = options
	return file
}

func importing(file *fileProto, path string) *fileProto {
	file.Dependency = append(file.Dependency, path)
	return file
}

func linkedOptions(options *taskv1.TaskOptions) *descriptorpb.MethodOptions {
	out := new(descriptorpb.MethodOptions)
	proto.SetExtension(out, taskv1.E_Task, options)
	return out
}

func unknownOptions(t testing.TB, parts ...*taskv1.TaskOptions) *descriptorpb.MethodOptions {
	t.Helper()
	var raw []byte
	for _, part := range parts {
		b, err := proto.Marshal(part)
		require.NoError(t, err)
		raw = protowire.AppendTag(raw, optionNumber, protowire.BytesType)
		raw = protowire.AppendBytes(raw, b)
	}
	out := new(descriptorpb.MethodOptions)
	out.ProtoReflect().SetUnknown(raw)
	return out
}

func TestOptionsHoweverEncoded(t *testing.T) {
	t.Parallel()
	want := &taskv1.TaskOptions{Timeout: durationpb.New(90 * time.Second), Priority: taskv1.Priority_PRIORITY_HIGH}
	const path = "warren/task/v1/options.proto"

	dynamic := func() *descriptorpb.MethodOptions {
		files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: optionFiles(t)})
		require.NoError(t, err)
		xt, err := dynamicpb.NewTypes(files).FindExtensionByName("warren.task.v1.task")
		require.NoError(t, err)
		raw, err := proto.Marshal(want)
		require.NoError(t, err)
		value := dynamicpb.NewMessage(xt.TypeDescriptor().Message())
		require.NoError(t, proto.Unmarshal(raw, value))
		out := new(descriptorpb.MethodOptions)
		out.ProtoReflect().Set(xt.TypeDescriptor(), protoreflect.ValueOfMessage(value))
		return out
	}
	collected := func(file *fileProto) catalogue.Announcement {
		files := new(protoregistry.Files)
		for _, f := range append(optionFiles(t), file) {
			desc, err := protodesc.NewFile(f, files)
			require.NoError(t, err)
			require.NoError(t, files.RegisterFile(desc))
		}
		a, err := catalogue.Collect(files, "acme.Echoes")
		require.NoError(t, err)
		return a
	}
	for name, a := range map[string]catalogue.Announcement{
		"generated":       collected(importing(optionedFile(linkedOptions(want)), path)),
		"dynamic":         collected(importing(optionedFile(dynamic()), path)),
		"unknown":         collected(importing(optionedFile(unknownOptions(t, want)), path)),
		"not imported":    announce(t, "acme.Echoes", optionedFile(unknownOptions(t, want))),
		"bundle's own":    announce(t, "acme.Echoes", append(optionFiles(t), importing(optionedFile(linkedOptions(want)), path))...),
		"in two parts":    announce(t, "acme.Echoes", optionedFile(unknownOptions(t, &taskv1.TaskOptions{Timeout: want.Timeout}, &taskv1.TaskOptions{Priority: want.Priority}))),
		"foreign options": announce(t, "acme.Echoes", foreignOptionFile(t, want)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := mustBuild(t, a)
			require.Empty(t, b.Refusals())
			require.Len(t, b.TaskTypes(), 1)
			tt := b.TaskTypes()[0]
			require.True(t, proto.Equal(want, tt.Options), "%v", tt.Options)
			require.Equal(t, 90*time.Second, tt.Timeout())
			require.Equal(t, taskv1.Priority_PRIORITY_HIGH, tt.Priority())
		})
	}
}

// foreignOptionFile has our option beside one that only its bundle knows.
func foreignOptionFile(t testing.TB, options *taskv1.TaskOptions) []*fileProto {
	t.Helper()
	owner := field("owner", 60000, typeString, optional)
	owner.Extendee = proto.String(".google.protobuf.MethodOptions")
	all := unknownOptions(t, options)
	raw := protowire.AppendTag(all.ProtoReflect().GetUnknown(), 60000, protowire.BytesType)
	all.ProtoReflect().SetUnknown(protowire.AppendString(raw, "team a"))
	file := importing(optionedFile(all), "google/protobuf/descriptor.proto")
	file.Extension = []*fieldProto{owner}
	return []*fileProto{descriptorFile(), file}
}

func TestOptionsDefaults(t *testing.T) {
	t.Parallel()
	tt := mustBuild(t, imageAnnouncement(t)).TaskTypes()[0]
	require.Nil(t, tt.Options)
	require.Equal(t, 10*time.Minute, tt.Timeout())
	require.Equal(t, taskv1.Priority_PRIORITY_NORMAL, tt.Priority())
}

func TestOptionsOfTheSameNumberThatAreNotOurs(t *testing.T) {
	t.Parallel()
	theirs := field("deadline", optionNumber, typeString, optional)
	theirs.Extendee = proto.String(".google.protobuf.MethodOptions")
	all := new(descriptorpb.MethodOptions)
	raw := protowire.AppendTag(nil, optionNumber, protowire.BytesType)
	all.ProtoReflect().SetUnknown(protowire.AppendString(raw, "tomorrow"))
	file := importing(optionedFile(all), "google/protobuf/descriptor.proto")
	file.Extension = []*fieldProto{theirs}

	b := mustBuild(t, announce(t, "acme.Echoes", descriptorFile(), file))
	require.Empty(t, b.Refusals())
	require.Nil(t, b.TaskTypes()[0].Options)
}

func TestOptionsThatBreakTheirRulesCostTheMethod(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options *taskv1.TaskOptions
		want    string
	}{
		"too long":     {&taskv1.TaskOptions{Timeout: durationpb.New(13 * time.Hour)}, "timeout"},
		"zero":         {&taskv1.TaskOptions{Timeout: durationpb.New(0)}, "timeout"},
		"negative":     {&taskv1.TaskOptions{Timeout: durationpb.New(-time.Second)}, "timeout"},
		"no duration":  {&taskv1.TaskOptions{Timeout: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "timeout"},
		"out of range": {&taskv1.TaskOptions{Priority: 10}, "priority"},
		"too many attempts": {
			&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{MaxAttempts: 1001}}, "retry.max_attempts: ",
		},
		"no such code": {
			&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{
				{Codes: []string{"ABORTED"}, Action: taskv1.RetryAction_RETRY_ACTION_RETRY},
				{Codes: []string{"NOT_FOUND", "OFFLINE"}, Action: taskv1.RetryAction_RETRY_ACTION_RETRY},
			}}}, "retry.rules[1].codes[1]: ",
		},
		"a maximum below the initial wait": {
			&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Backoff: &taskv1.Backoff{Kind: &taskv1.Backoff_Exponential{
				Exponential: &taskv1.ExponentialBackoff{Initial: durationpb.New(time.Minute), Max: durationpb.New(time.Second)},
			}}}}, "retry.backoff.exponential.max: ",
		},
		"retries of what runs at most once": {
			&taskv1.TaskOptions{AtMostOnce: proto.Bool(true), Retry: &taskv1.RetryPolicy{MaxAttempts: 2}}, "retry.max_attempts: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := optionedFile(unknownOptions(t, tc.options))
			file.Service[0].Method = append(file.Service[0].Method, method("Other", ".acme.Echo", ".acme.Echo"))
			b := mustBuild(t, announce(t, "acme.Echoes", file))
			require.Equal(t, []string{"acme.Echoes.Other"}, typeNames(b.TaskTypes()))
			require.Len(t, b.Refusals(), 1)
			require.Equal(t, "acme.Echoes.Say", b.Refusals()[0].Name)
			require.Contains(t, b.Refusals()[0].Message, tc.want)
			require.Contains(t, b.Refusals()[0].Message, "warren.task.v1.task")
		})
	}
}
