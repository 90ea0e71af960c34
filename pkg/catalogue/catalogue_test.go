package catalogue_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestTypeName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"acme.v1.ImageService.Resize":  "acme.v1.ImageService.Resize",
		"acme.v1.ImageService/Resize":  "acme.v1.ImageService.Resize",
		"/acme.v1.ImageService/Resize": "acme.v1.ImageService.Resize",
		"/Echoes/Say":                  "Echoes.Say",
		"":                             "",
		"/":                            "",
	} {
		require.Equal(t, want, catalogue.TypeName(in), in)
	}
}

func TestCatalogueFindsTypesByEachSpelling(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	_, ok := c.Type("acme.v1.ImageService.Resize")
	require.False(t, ok)
	require.Empty(t, c.Types())
	require.Empty(t, c.Services())

	b := mustPut(t, c, 1, imageAnnouncement(t))
	for _, name := range []string{"acme.v1.ImageService.Resize", "acme.v1.ImageService/Resize", "/acme.v1.ImageService/Resize"} {
		tt, ok := c.Type(name)
		require.True(t, ok, name)
		require.Equal(t, "acme.v1.ImageService.Resize", tt.Name)
	}
	for _, name := range []string{"acme.v1.ImageService", "acme.v1.ImageService.Chat", "/acme.v1.ImageService/Nothing", ""} {
		_, ok := c.Type(name)
		require.False(t, ok, name)
	}
	require.Equal(t, []string{"acme.v1.ImageService"}, c.Services())
	known, ok := c.Bundle(b.ID())
	require.True(t, ok)
	require.Same(t, b, known)
	_, ok = c.Bundle("acme.v1.ImageService")
	require.False(t, ok)
}

func TestCatalogueRefusesABundleThatWasNotBuilt(t *testing.T) {
	t.Parallel()
	for _, b := range []*catalogue.Bundle{nil, new(catalogue.Bundle)} {
		_, err := catalogue.New().Put(b, at(1))
		require.Error(t, err)
	}
}

// sharedNames are two bundles that define one file and one message differently.
func sharedNames(t testing.TB) (a, b catalogue.Announcement) {
	t.Helper()
	for _, svc := range []string{"a", "b"} {
		types := &fileProto{
			Name: proto.String("types.proto"), Package: proto.String("shared"), Syntax: proto.String("proto3"),
			MessageType: []*messageProto{message("Thing", field("from_"+svc, 1, typeString, optional))},
		}
		file := echoFile(svc+".proto", "acme."+svc, "Echoes", "text")
		file.Dependency = []string{"types.proto"}
		file.MessageType[0].Field = append(file.MessageType[0].Field, messageField("thing", 2, optional, ".shared.Thing"))
		if svc == "a" {
			a = announce(t, "acme.a.Echoes", types, file)
		} else {
			b = announce(t, "acme.b.Echoes", types, file)
		}
	}
	return a, b
}

func TestBundlesMayDefineOneNameDifferently(t *testing.T) {
	t.Parallel()
	first, second := sharedNames(t)
	for _, order := range [][]catalogue.Announcement{{first, second}, {second, first}} {
		c := catalogue.New()
		for i, a := range order {
			mustPut(t, c, i, a)
		}
		for _, svc := range []string{"a", "b"} {
			tt, ok := c.Type("acme." + svc + ".Echoes.Say")
			require.True(t, ok)
			thing := tt.Input.Fields().ByName("thing").Message()
			require.NotNil(t, thing.Fields().ByName(protoreflect.Name("from_"+svc)))

			mt, err := tt.Resolver().FindMessageByName("shared.Thing")
			require.NoError(t, err)
			require.NotNil(t, mt.Descriptor().Fields().ByName(protoreflect.Name("from_"+svc)))
		}
		mt, err := c.Resolver().FindMessageByName("shared.Thing")
		require.NoError(t, err)
		require.NotNil(t, mt.Descriptor().Fields().ByName("from_a"), "by a bare name the order of arrival does not matter")
	}
}

func TestResolverFindsLinkedTypesFirst(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	r := c.Resolver()
	_, err := r.FindMessageByName("acme.v1.Item")
	require.Same(t, protoregistry.NotFound, err, "callers compare with ==")

	b := mustPut(t, c, 1, imageAnnouncement(t))
	mt, err := r.FindMessageByURL("type.googleapis.com/acme.v1.Item")
	require.NoError(t, err)
	require.IsType(t, new(dynamicpb.Message), mt.Zero().Interface())
	mt, err = r.FindMessageByName("google.protobuf.Any")
	require.NoError(t, err)
	require.IsType(t, new(anypb.Any), mt.Zero().Interface())
	_, err = r.FindMessageByName("acme.v1.ImageService")
	require.ErrorIs(t, err, protoregistry.NotFound)

	mt, err = b.Resolver().FindMessageByName("google.protobuf.Any")
	require.NoError(t, err)
	require.IsType(t, new(dynamicpb.Message), mt.Zero().Interface(), "a bundle's own definition comes before the linked one")
	mt, err = b.Resolver().FindMessageByName("warren.task.v1.Task")
	require.NoError(t, err)
	require.IsType(t, new(taskv1.Task), mt.Zero().Interface())
}

func TestResolverFindsExtensions(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.Echoes", foreignOptionFile(t, new(taskv1.TaskOptions))...))
	const methodOptions = "google.protobuf.MethodOptions"
	tt, _ := c.Type("acme.Echoes.Say")
	for name, r := range map[string]*catalogue.Resolver{"catalogue": c.Resolver(), "task type": tt.Resolver()} {
		xt, err := r.FindExtensionByName("acme.owner")
		require.NoError(t, err, name)
		require.EqualValues(t, 60000, xt.TypeDescriptor().Number())
		xt, err = r.FindExtensionByNumber(methodOptions, 60000)
		require.NoError(t, err, name)
		require.EqualValues(t, "acme.owner", xt.TypeDescriptor().FullName())
		xt, err = r.FindExtensionByNumber(methodOptions, optionNumber)
		require.NoError(t, err, name)
		require.Equal(t, taskv1.E_Task, xt, "generated code reads no other type of its extension")
		_, err = r.FindExtensionByName("acme.Echo")
		require.ErrorIs(t, err, protoregistry.NotFound, name)
		_, err = r.FindExtensionByNumber(methodOptions, 1)
		require.ErrorIs(t, err, protoregistry.NotFound, name)
	}
}

func TestResolverShowsAnyInJSON(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, imageAnnouncement(t))
	tt, _ := c.Type("acme.v1.ImageService.Resize")
	for name, r := range map[string]*catalogue.Resolver{"catalogue": c.Resolver(), "task type": tt.Resolver()} {
		in := `{"type":"acme.v1.ImageService.Resize","payload":{"@type":"type.googleapis.com/acme.v1.ResizeRequest",
			"url":"u","at":"2026-01-02T03:04:05Z","extra":{"@type":"type.googleapis.com/acme.v1.Item","name":"n"}}}`
		req := new(taskv1.SubmitTaskRequest)
		require.NoError(t, protojson.UnmarshalOptions{Resolver: r}.Unmarshal([]byte(in), req), name)
		require.NoError(t, tt.ValidateAny(req.GetPayload()), name)

		out, err := protojson.MarshalOptions{Resolver: r}.Marshal(req)
		require.NoError(t, err, name)
		require.JSONEq(t, in, string(out), name)
	}
}

func TestCatalogueConcurrently(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	first, second := sharedNames(t)
	bundles := []*catalogue.Bundle{mustBuild(t, first), mustBuild(t, second), mustBuild(t, imageAnnouncement(t))}
	for i := range 4 {
		file := echoFile("a.proto", "acme.a", "Echoes", fmt.Sprintf("text%d", i))
		bundles = append(bundles, mustBuild(t, announce(t, "acme.a.Echoes", file)))
	}
	_, err := c.Put(bundles[0], at(0))
	require.NoError(t, err)

	payload := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "hello")
	errs := make(chan error, 16)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := c.Put(bundles[i%len(bundles)], at(i)); err != nil {
					errs <- err
					return
				}
			}
		})
		wg.Go(func() {
			r := c.Resolver()
			for range 200 {
				tt, ok := c.Type("acme.a.Echoes/Say")
				if !ok {
					errs <- fmt.Errorf("a service vanished while it was replaced")
					return
				}
				if err := tt.Validate(payload); err != nil {
					errs <- err
					return
				}
				if _, err := r.FindMessageByName("acme.a.Echo"); err != nil {
					errs <- err
					return
				}
				_, _ = r.FindExtensionByNumber("google.protobuf.MethodOptions", 1)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}
