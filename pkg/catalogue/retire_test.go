package catalogue_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

const (
	typeResize    = "acme.v1.ImageService.Resize"
	typeTranscode = "acme.v1.ImageService.Transcode"
)

func TestRetire(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	_, found := c.Retire(typeResize)
	require.False(t, found)
	whole := mustPut(t, c, 1, imageAnnouncement(t))
	mustPut(t, c, 2, announce(t, "other.v1.Echoes", echoFile("other.proto", "other.v1", "Echoes", "f")))
	other := "other.v1.Echoes.Say"

	_, found = c.Retire("acme.v1.ImageService/Resize")
	require.True(t, found)
	require.Equal(t, []string{typeTranscode, other}, typeNames(c.Types()))
	require.Contains(t, c.Services(), "acme.v1.ImageService", "its other method is there")
	_, found = c.Bundle(whole.ID())
	require.False(t, found, "what is left is not the whole")
	undo, found := c.Retire(typeTranscode)
	require.True(t, found)
	require.Equal(t, []string{"other.v1.Echoes"}, c.Services())
	undo()
	require.Equal(t, []string{typeTranscode, other}, typeNames(c.Types()))
	_, found = c.Retire(typeTranscode)
	require.True(t, found)

	// The program that had it is still there, and announces it again.
	changed, err := c.Put(mustBuild(t, imageAnnouncement(t)), at(1))
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, []string{typeResize, typeTranscode, other}, typeNames(c.Types()))
	again, _ := c.Bundle(whole.ID())
	require.Len(t, again.TaskTypes(), 2)
}

// An older version must not define what was retired.
func TestRetiredInAllVersions(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "a.v1.Echoes", echoFile("a.proto", "a.v1", "Echoes", "one")))
	mustPut(t, c, 2, announce(t, "a.v1.Echoes", echoFile("a.proto", "a.v1", "Echoes", "two")))
	undo, found := c.Retire("a.v1.Echoes.Say")
	require.True(t, found)
	require.Empty(t, c.Types())
	require.Empty(t, c.Services())
	undo()
	known, ok := c.Type("a.v1.Echoes.Say")
	require.True(t, ok)
	require.EqualValues(t, "two", known.Input.Fields().Get(0).Name())
}

func TestLimited(t *testing.T) {
	t.Parallel()
	b := mustBuild(t, imageAnnouncement(t))
	all := map[string]bool{"/acme.v1.ImageService/Resize": true, "/acme.v1.ImageService/Transcode": true, "/x.v1.X/Y": true}
	require.Same(t, b, b.Limited(all))
	delete(all, "/acme.v1.ImageService/Resize")
	left := b.Limited(all)
	require.Equal(t, []string{typeTranscode}, typeNames(left.TaskTypes()))
	require.Equal(t, b.Services(), left.Services())
	require.NotEqual(t, b.ID(), left.ID())
	require.Empty(t, b.Limited(nil).Services())
	require.Len(t, b.TaskTypes(), 2)
}

func TestRetiredTypesAreShown(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	_, ok := c.Retired(typeResize)
	require.False(t, ok)
	known, err := catalogue.RetiredType(typeResize, "acme.v1.Outer.Request", "Response")
	require.NoError(t, err)
	require.EqualValues(t, "acme.v1.Outer.Request", known.Input.FullName())
	require.EqualValues(t, "Response", known.Output.FullName())
	require.Equal(t, "/acme.v1.ImageService/Resize", known.GRPCMethod)
	require.Empty(t, known.Files())
	c.SetRetired(map[string]catalogue.TaskType{typeResize: known})
	_, ok = c.Retired("acme.v1.ImageService/Resize")
	require.True(t, ok)
	_, ok = c.Type(typeResize)
	require.False(t, ok)
	_, err = catalogue.RetiredType(typeResize, "not a name", "Response")
	require.ErrorContains(t, err, typeResize)
	_, err = catalogue.RetiredType(typeResize, "a.B", "")
	require.ErrorContains(t, err, "output")
}

func TestDescriptorSetIsWhole(t *testing.T) {
	t.Parallel()
	for _, known := range mustBuild(t, imageAnnouncement(t)).TaskTypes() {
		raw, err := known.DescriptorSet()
		require.NoError(t, err)
		set := &descriptorpb.FileDescriptorSet{}
		require.NoError(t, proto.Unmarshal(raw, set))
		require.Len(t, set.File, 3)
		files, err := protodesc.NewFiles(set)
		require.NoError(t, err, "nothing else is needed")
		found, err := files.FindDescriptorByName("acme.v1.ImageService.Resize")
		require.NoError(t, err)
		require.Equal(t, "acme/v1/image.proto", found.ParentFile().Path())
		last := known.Files()[2]
		require.Equal(t, "acme/v1/image.proto", last.Path(), "imports come first")
	}
}
