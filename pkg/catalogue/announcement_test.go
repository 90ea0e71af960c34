package catalogue_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestCollectThenBuild(t *testing.T) {
	t.Parallel()
	a, err := catalogue.Collect(nil, "demo.v1.ImageService", "demo.v1.FaultService", "demo.v1.ImageService")
	require.NoError(t, err)
	require.Equal(t, []string{"demo.v1.FaultService", "demo.v1.ImageService"}, a.Services)

	b := mustBuild(t, a)
	require.Equal(t, a.Services, b.Services())
	require.Empty(t, b.Refusals())
	require.Contains(t, typeNames(b.TaskTypes()), "demo.v1.ImageService.Thumbnail")

	for _, tt := range b.TaskTypes() {
		if tt.Name != "demo.v1.ImageService.ContactSheet" {
			continue
		}
		require.Equal(t, "demo.v1.ImageService", tt.Service)
		require.Equal(t, "ContactSheet", tt.Method)
		require.Equal(t, demov1.ImageService_ContactSheet_FullMethodName, tt.GRPCMethod)
		require.EqualValues(t, "demo.v1.ContactSheetRequest", tt.Input.FullName())
		require.EqualValues(t, "demo.v1.ContactSheetResponse", tt.Output.FullName())
		require.True(t, tt.ServerStreaming)
	}
}

func TestCollectPutsImportsFirst(t *testing.T) {
	t.Parallel()
	a, err := catalogue.Collect(nil, "warren.task.v1.TaskService")
	require.NoError(t, err)

	var seen []string
	for _, raw := range a.Files {
		file := new(descriptorpb.FileDescriptorProto)
		require.NoError(t, proto.Unmarshal(raw, file))
		for _, dep := range file.GetDependency() {
			require.Contains(t, seen, dep)
		}
		require.NotContains(t, seen, file.GetName())
		seen = append(seen, file.GetName())
	}
	require.Contains(t, seen, taskv1.File_warren_task_v1_task_proto.Path())
}

func TestCollectIsDeterministic(t *testing.T) {
	t.Parallel()
	once, err := catalogue.Collect(nil, "demo.v1.ImageService", "warren.task.v1.TaskService")
	require.NoError(t, err)
	again, err := catalogue.Collect(nil, "warren.task.v1.TaskService", "demo.v1.ImageService")
	require.NoError(t, err)
	require.ElementsMatch(t, once.Files, again.Files)
	require.Equal(t, once.ID(), again.ID())
}

func TestCollectRefuses(t *testing.T) {
	t.Parallel()
	_, err := catalogue.Collect(nil)
	require.ErrorContains(t, err, "no service")
	_, err = catalogue.Collect(nil, "acme.v1.Nothing")
	require.ErrorIs(t, err, protoregistry.NotFound)
	require.ErrorContains(t, err, "acme.v1.Nothing")
	_, err = catalogue.Collect(nil, "demo.v1.ThumbnailRequest")
	require.ErrorContains(t, err, "not a service")
}

func TestCollectNamesAnImportThatIsNotLinked(t *testing.T) {
	t.Parallel()
	file := echoFile("acme/echo.proto", "acme", "Echoes", "text")
	file.Dependency = []string{"acme/gone.proto"}
	desc, err := protodesc.FileOptions{AllowUnresolvable: true}.New(file, nil)
	require.NoError(t, err)
	files := new(protoregistry.Files)
	require.NoError(t, files.RegisterFile(desc))

	_, err = catalogue.Collect(files, "acme.Echoes")
	require.ErrorContains(t, err, "acme/gone.proto")
	require.ErrorContains(t, err, "acme/echo.proto")

	// The registry may have learned of it since.
	gone, err := protodesc.NewFile(&fileProto{Name: proto.String("acme/gone.proto"), Syntax: proto.String("proto3")}, nil)
	require.NoError(t, err)
	require.NoError(t, files.RegisterFile(gone))
	a, err := catalogue.Collect(files, "acme.Echoes")
	require.NoError(t, err)
	require.Len(t, a.Files, 2)
	mustBuild(t, a)
}

func TestCollectFollowsOptionImports(t *testing.T) {
	t.Parallel()
	lib := &fileProto{Name: proto.String("acme/lib.proto"), Syntax: proto.String("proto3")}
	file := echoFile("acme/echo.proto", "acme", "Echoes", "text")
	file.Syntax, file.Edition = proto.String("editions"), descriptorpb.Edition_EDITION_2024.Enum()
	file.OptionDependency = []string{"acme/lib.proto", "acme/absent.proto"}
	files := new(protoregistry.Files)
	for _, f := range []*fileProto{lib, file} {
		desc, err := protodesc.NewFile(f, files)
		require.NoError(t, err)
		require.NoError(t, files.RegisterFile(desc))
	}
	a, err := catalogue.Collect(files, "acme.Echoes")
	require.NoError(t, err)
	require.Len(t, a.Files, 2)
	require.Empty(t, mustBuild(t, a).Refusals())
}

func TestAnnouncementID(t *testing.T) {
	t.Parallel()
	a := imageAnnouncement(t)
	id := a.ID()
	require.Len(t, id, 64)

	shuffled := catalogue.Announcement{Services: []string{a.Services[0], a.Services[0]}, Files: slices.Clone(a.Files)}
	slices.Reverse(shuffled.Files)
	require.Equal(t, id, shuffled.ID(), "neither order nor repetition matters")
	require.Equal(t, id, mustBuild(t, shuffled).ID())

	other := catalogue.Announcement{Services: []string{"acme.v1.Other"}, Files: a.Files}
	require.NotEqual(t, id, other.ID())
	fewer := catalogue.Announcement{Services: a.Services, Files: a.Files[1:]}
	require.NotEqual(t, id, fewer.ID())
	joined := catalogue.Announcement{Services: []string{"ab", "c"}}
	split := catalogue.Announcement{Services: []string{"a", "bc"}}
	require.NotEqual(t, joined.ID(), split.ID())
}

func TestBuildAgainFromWhatABundleKeeps(t *testing.T) {
	t.Parallel()
	a := imageAnnouncement(t)
	a.Services = append(a.Services, "warren.task.v1.TaskService")
	first := mustBuild(t, a)
	require.ElementsMatch(t, a.Files, first.Files(), "the bytes are kept as they came")

	again := mustBuild(t, first.Announcement())
	require.Equal(t, first.ID(), again.ID())
	require.Equal(t, first.Refusals(), again.Refusals())
	require.Equal(t, typeNames(first.TaskTypes()), typeNames(again.TaskTypes()))
}

func TestCollectFromABundle(t *testing.T) {
	t.Parallel()
	// What a worker forwards was learned as bytes, not linked.
	set := &descriptorpb.FileDescriptorSet{File: append(wellKnown(), imageFile())}
	files, err := protodesc.NewFiles(set)
	require.NoError(t, err)
	a, err := catalogue.Collect(files, protoreflect.FullName("acme.v1.ImageService"))
	require.NoError(t, err)
	require.Len(t, a.Files, 3)
	require.Equal(t, []string{"acme.v1.ImageService.Resize", "acme.v1.ImageService.Transcode"},
		typeNames(mustBuild(t, a).TaskTypes()))
}
