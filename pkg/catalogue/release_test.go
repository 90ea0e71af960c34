package catalogue_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// version is a service in one of its versions: the methods, all of which take a
// message that has a field of the version's name.
func version(t testing.TB, name string, methods ...string) catalogue.Announcement {
	t.Helper()
	file := echoFile("acme/v1/echo.proto", "acme.v1", "Echoes", name)
	file.Service[0].Method = nil
	for _, m := range methods {
		file.Service[0].Method = append(file.Service[0].Method, method(m, ".acme.v1.Echo", ".acme.v1.Echo"))
	}
	return announce(t, "acme.v1.Echoes", file)
}

// requireTypes checks which version each method of the service is defined by.
func requireTypes(t require.TestingT, c *catalogue.Catalogue, want map[string]string) {
	got := make(map[string]string)
	for _, tt := range c.Types() {
		got[tt.Method] = string(tt.Input.Fields().Get(0).Name())
	}
	require.Equal(t, want, got)
}

func put(t require.TestingT, c *catalogue.Catalogue, b *catalogue.Bundle, second int) (changed bool) {
	changed, err := c.Put(b, at(second))
	require.NoError(t, err)
	return changed
}

func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	v1, v2 := mustBuild(t, version(t, "v1", "A", "B")), mustBuild(t, version(t, "v2", "A", "C"))
	want := map[string]string{"A": "v2", "B": "v1", "C": "v2"}
	for name, order := range map[string][]*catalogue.Bundle{
		"as they started":       {v1, v2},
		"the other way round":   {v2, v1},
		"and again and again":   {v1, v2, v1, v2, v1},
		"and again, the newest": {v2, v1, v2, v1, v2},
	} {
		c := catalogue.New()
		for i, b := range order {
			second := 1
			if b == v2 {
				second = 2
			}
			require.Equal(t, i < 2, put(t, c, b, second), "%s: what is known changes nothing", name)
		}
		requireTypes(t, c, want)
		require.Equal(t, []string{"acme.v1.Echoes"}, c.Services())
	}
}

func TestAnOlderVersionThatHasNothingOfItsOwn(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	v1, v2 := mustBuild(t, version(t, "v1", "A")), mustBuild(t, version(t, "v2", "A", "B"))
	require.True(t, put(t, c, v1, 1))
	before, _ := c.Type("acme.v1.Echoes.A")
	require.True(t, put(t, c, v2, 2))
	_, known := c.Bundle(v1.ID())
	require.False(t, known, "nothing needs it")
	require.False(t, put(t, c, v1, 1), "one of its workers connected again")
	requireTypes(t, c, map[string]string{"A": "v2", "B": "v2"})
	require.NotNil(t, before.Input.Fields().ByName("v1"), "a type in hand stays as it is")

	// A worker of it starts: somebody went back to it.
	require.True(t, put(t, c, mustBuild(t, version(t, "v1", "A")), 3))
	requireTypes(t, c, map[string]string{"A": "v1", "B": "v2"})
	require.False(t, put(t, c, v2, 2))
	requireTypes(t, c, map[string]string{"A": "v1", "B": "v2"})
}

func TestALaterStartOfAKnownBundleKeepsIt(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	first := mustBuild(t, version(t, "v1", "A"))
	require.True(t, put(t, c, first, 1))
	require.True(t, put(t, c, mustBuild(t, version(t, "v1", "A")), 3), "it counts by its last start")
	known, _ := c.Bundle(first.ID())
	require.Same(t, first, known)
	require.False(t, put(t, c, mustBuild(t, version(t, "v2", "A")), 2))
}

func TestAServiceMayMoveAlone(t *testing.T) {
	t.Parallel()
	both := version(t, "v1", "A")
	both.Services = append(both.Services, "acme.b.Echoes")
	both.Files = append(both.Files, encode(t, echoFile("b.proto", "acme.b", "Echoes", "old"))...)
	c := catalogue.New()
	mustPut(t, c, 1, both)
	mustPut(t, c, 2, announce(t, "acme.b.Echoes", echoFile("b.proto", "acme.b", "Echoes", "new")))
	require.Equal(t, []string{"acme.b.Echoes", "acme.v1.Echoes"}, c.Services())
	requireTypes(t, c, map[string]string{"A": "v1", "Say": "new"})
}

func TestAMethodThatBecameNoTaskTypeStays(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, version(t, "v1", "A", "B"))
	file := echoFile("acme/v1/echo.proto", "acme.v1", "Echoes", "v2")
	file.Service[0].Method = []*methodProto{
		method("A", ".acme.v1.Echo", ".acme.v1.Echo"), streams(method("B", ".acme.v1.Echo", ".acme.v1.Echo"), true, false),
	}
	mustPut(t, c, 2, announce(t, "acme.v1.Echoes", file))
	requireTypes(t, c, map[string]string{"A": "v2", "B": "v1"})
}

// The catalogue follows from which bundles were put and when they started, not
// from the order of arrival: so do other gateways, and a restarted one that puts
// only what this one has kept.
func TestTheOrderOfArrivalDoesNotMatter(t *testing.T) {
	t.Parallel()
	type arrival struct {
		bundle *catalogue.Bundle
		second int
	}
	var bundles []*catalogue.Bundle
	for name, methods := range map[string][]string{"v1": {"A", "B"}, "v2": {"A", "C"}, "v3": {"B", "C", "D"}, "v4": {"A"}, "v5": {"D"}} {
		bundles = append(bundles, mustBuild(t, version(t, name, methods...)))
	}
	rapid.Check(t, func(t *rapid.T) {
		arrivals := rapid.SliceOf(rapid.Custom(func(t *rapid.T) arrival {
			return arrival{rapid.SampledFrom(bundles).Draw(t, "bundle"), rapid.IntRange(1, 4).Draw(t, "second")}
		})).Draw(t, "arrivals")
		one, other, restarted := catalogue.New(), catalogue.New(), catalogue.New()
		latest := make(map[string]int)
		for _, a := range arrivals {
			put(t, one, a.bundle, a.second)
			latest[a.bundle.ID()] = max(latest[a.bundle.ID()], a.second)
		}
		for _, a := range rapid.Permutation(arrivals).Draw(t, "order") {
			put(t, other, a.bundle, a.second)
		}
		for _, b := range bundles {
			if kept, ok := one.Bundle(b.ID()); ok {
				put(t, restarted, kept, latest[b.ID()])
			}
		}
		for _, c := range []*catalogue.Catalogue{other, restarted} {
			require.Equal(t, fields(one), fields(c))
			for _, b := range bundles {
				_, inOne := one.Bundle(b.ID())
				_, inOther := c.Bundle(b.ID())
				require.Equal(t, inOne, inOther)
			}
		}
	})
}

// fields are the fields of each type's input.
func fields(c *catalogue.Catalogue) map[string]protoreflect.Name {
	out := make(map[string]protoreflect.Name)
	for _, tt := range c.Types() {
		out[tt.Name] = tt.Input.Fields().Get(0).Name()
	}
	return out
}

func TestReflectionDuringARollingDeploy(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 2, version(t, "v2", "A", "C"))
	mustPut(t, c, 1, version(t, "v1", "A", "B"))
	conn := serveReflection(t, c)
	for symbol, want := range map[string]string{
		"acme.v1.Echoes": "v2", "acme.v1.Echoes.A": "v2", "acme.v1.Echoes.C": "v2", "acme.v1.Echoes.B": "v1", "acme.v1.Echo": "v2",
	} {
		files := newReflector(t, conn)
		_, err := files.build(files.symbol(symbol)).FindDescriptorByName(protoreflect.FullName("acme.v1.Echo." + want))
		require.NoError(t, err, symbol)
	}
	require.NotNil(t, newReflector(t, conn).symbol("acme.v1.Echoes.D").GetErrorResponse())

	b, _ := c.Type("acme.v1.Echoes.B")
	mt, err := b.Resolver().FindMessageByName("acme.v1.Echo")
	require.NoError(t, err)
	require.NotNil(t, mt.Descriptor().Fields().ByName("v1"))
}

// What only an older bundle has is found by its name.
func TestMessagesOfKeptTypesAreFound(t *testing.T) {
	t.Parallel()
	older := echoFile("acme/v1/echo.proto", "acme.v1", "Echoes", "v1")
	older.MessageType = append(older.MessageType, message("Old", field("v1", 1, typeString, optional)))
	older.Service = []*descriptorpb.ServiceDescriptorProto{service("Echoes", method("B", ".acme.v1.Old", ".acme.v1.Old"))}
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.v1.Echoes", older))
	mustPut(t, c, 2, version(t, "v2", "A"))
	_, err := c.Resolver().FindMessageByName("acme.v1.Old")
	require.NoError(t, err)
	require.Nil(t, newReflector(t, serveReflection(t, c)).symbol("acme.v1.Old").GetErrorResponse())
}
