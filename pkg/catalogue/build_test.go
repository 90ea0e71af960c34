package catalogue_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestBuildRefusesWhatIsNoTask(t *testing.T) {
	t.Parallel()
	b := mustBuild(t, imageAnnouncement(t))
	require.Equal(t, []string{"acme.v1.ImageService.Resize", "acme.v1.ImageService.Transcode"}, typeNames(b.TaskTypes()))

	refusals := b.Refusals()
	require.Len(t, refusals, 2)
	require.Equal(t, "acme.v1.ImageService.Upload", refusals[0].Name)
	require.Contains(t, refusals[0].Message, "client stream")
	require.Equal(t, "acme.v1.ImageService.Chat", refusals[1].Name)
	require.Contains(t, refusals[1].Message, "bidirectional")
	for _, r := range refusals {
		require.False(t, r.Service)
	}
}

func TestBuildRefusesServicesByThemselves(t *testing.T) {
	t.Parallel()
	a := imageAnnouncement(t)
	for _, pkg := range []string{"warren.task.v1", "grpc.health.v1", "google.longrunning", "warrenty.v1"} {
		path := strings.ReplaceAll(pkg, ".", "/") + "/echo.proto"
		a.Files = append(a.Files, encode(t, echoFile(path, pkg, "Echoes", "text"))...)
		a.Services = append(a.Services, pkg+".Echoes")
	}
	a.Services = append(a.Services, "acme.v1.Gone", "acme.v1.ResizeRequest")

	b := mustBuild(t, a)
	require.Equal(t, []string{"acme.v1.ImageService", "warrenty.v1.Echoes"}, b.Services())
	why := make(map[string]string)
	for _, r := range b.Refusals() {
		if r.Service {
			why[r.Name] = r.Message
		}
	}
	require.Len(t, why, 5)
	require.Contains(t, why["warren.task.v1.Echoes"], "reserved")
	require.Contains(t, why["grpc.health.v1.Echoes"], "reserved")
	require.Contains(t, why["google.longrunning.Echoes"], "reserved")
	require.Contains(t, why["acme.v1.Gone"], "no announced file defines")
	require.Contains(t, why["acme.v1.ResizeRequest"], "not a service")
}

func TestBuildTakesAServiceWithoutPackage(t *testing.T) {
	t.Parallel()
	file := echoFile("echo.proto", "", "Echoes", "text")
	file.Package = nil
	for _, m := range file.GetService()[0].GetMethod() {
		m.InputType, m.OutputType = proto.String(".Echo"), proto.String(".Echo")
	}
	b := mustBuild(t, announce(t, "Echoes", file))
	require.Equal(t, []string{"Echoes.Say"}, typeNames(b.TaskTypes()))
	require.Equal(t, "/Echoes/Say", b.TaskTypes()[0].GRPCMethod)
}

func TestBuildRefusesTheWhole(t *testing.T) {
	t.Parallel()
	circle := func(path, imports string) *fileProto {
		return &fileProto{Name: &path, Syntax: proto.String("proto3"), Dependency: []string{imports}}
	}
	named := func(path string) *fileProto { return echoFile(path, "acme", "Echoes", "text") }
	badSyntax := named("echo.proto")
	badSyntax.Syntax = proto.String("proto4")
	badIdentifier := echoFile("echo.proto", "acme", "Ech\x00es", "text")
	badType := named("echo.proto")
	badType.Service[0].Method[0].InputType = proto.String(".acme.Gone")
	longName := echoFile("echo.proto", "acme", "Echoes", strings.Repeat("x", 600))
	sum := func(path, fieldName string) *fileProto { return echoFile(path, "acme", "Echoes", fieldName) }

	for name, tc := range map[string]struct {
		services []string
		files    [][]byte
		want     []string
	}{
		"no service":         {nil, encode(t, named("echo.proto")), []string{"no service"}},
		"name of no service": {[]string{"acme.v1/Echoes"}, encode(t, named("echo.proto")), []string{"acme.v1/Echoes"}},
		"hostile name":       {[]string{"acme.\x1b[31mEchoes"}, nil, []string{`\x1b`}},
		"missing import": {nil, encode(t, imageFile(), wellKnown()[1]),
			[]string{"acme/v1/image.proto", "google/protobuf/any.proto", "not among the files"}},
		"import circle":  {nil, encode(t, circle("a.proto", "b.proto"), circle("b.proto", "a.proto")), []string{"in turn"}},
		"imports itself": {nil, encode(t, circle("a.proto", "a.proto")), []string{"in turn"}},
		"garbage":        {nil, [][]byte{[]byte("\xff\xff\xff garbage")}, []string{"file 1 of 1", "no file descriptor"}},
		"cut short":      {nil, [][]byte{encode(t, imageFile())[0][:100]}, []string{"file 1 of 1"}},
		"empty file":     {nil, [][]byte{{}}, []string{"no name"}},
		"same file twice": {nil, encode(t, named("echo.proto"), named("echo.proto")),
			[]string{"echo.proto", "twice"}},
		"one name in two files": {nil, encode(t, sum("a.proto", "a"), sum("b.proto", "b")), []string{"b.proto", "acme"}},
		"absolute path":         {nil, encode(t, named("/etc/echo.proto")), []string{"/etc/echo.proto"}},
		"path that climbs":      {nil, encode(t, named("../echo.proto")), []string{"../echo.proto"}},
		"unclean path":          {nil, encode(t, named("a//echo.proto")), []string{"a//echo.proto"}},
		"backslash":             {nil, encode(t, named(`a\echo.proto`)), []string{"relative path"}},
		"control character":     {nil, encode(t, named("a\necho.proto")), []string{`\n`}},
		"long path":             {nil, encode(t, named(strings.Repeat("x", 1000))), []string{"1000 bytes"}},
		"syntax":                {nil, encode(t, badSyntax), []string{"echo.proto", "proto4"}},
		"identifier":            {nil, encode(t, badIdentifier), []string{"echo.proto"}},
		"unknown type":          {nil, encode(t, badType), []string{"echo.proto", "acme.Gone"}},
		"long name":             {nil, encode(t, longName), []string{"echo.proto", "at most 512"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			services := tc.services
			if services == nil && name != "no service" {
				services = []string{"acme.Echoes"}
			}
			_, err := catalogue.Build(catalogue.Announcement{Services: services, Files: tc.files}, catalogue.Limits{})
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			require.NotErrorIs(t, err, catalogue.ErrLimit)
		})
	}
}

func TestBuildLimits(t *testing.T) {
	t.Parallel()
	a := imageAnnouncement(t)
	for name, limits := range map[string]catalogue.Limits{
		"bytes":    {MaxBytes: 100},
		"files":    {MaxFiles: 2},
		"elements": {MaxElements: 20},
		"paths":    {MaxImportPaths: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := catalogue.Build(a, limits)
			require.ErrorIs(t, err, catalogue.ErrLimit)
		})
	}
	_, err := catalogue.Build(a, catalogue.Limits{MaxFiles: 3, MaxImportPaths: 5})
	require.NoError(t, err, "a limit is the largest value that is allowed")
}

// Each case is small on the wire and would take gigabytes or years to build.
func TestBuildSurvivesWhatGrows(t *testing.T) {
	t.Parallel()
	var diamonds []*fileProto
	for i := range 100 {
		for _, side := range []string{"a", "b"} {
			file := &fileProto{Name: proto.String(fmt.Sprintf("%s%d.proto", side, i)), Syntax: proto.String("proto3")}
			if i > 0 {
				file.Dependency = []string{fmt.Sprintf("a%d.proto", i-1), fmt.Sprintf("b%d.proto", i-1)}
				file.PublicDependency = []int32{0, 1}
			}
			diamonds = append(diamonds, file)
		}
	}
	deep := message("M")
	for range 1000 {
		deep = &messageProto{Name: proto.String("M"), NestedType: []*messageProto{deep}}
	}
	many := encode(t, &fileProto{Name: proto.String("many.proto")})
	many[0] = append(many[0], bytes.Repeat([]byte{4<<3 | 2, 0}, 1<<20)...)

	for name, tc := range map[string]struct {
		files [][]byte
		want  string
	}{
		"imports in diamonds": {encode(t, diamonds...), "ways through the imports"},
		"deep messages":       {encode(t, &fileProto{Name: proto.String("deep.proto"), MessageType: []*messageProto{deep}}), "nested too deeply"},
		"empty messages":      {many, "too many elements"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := catalogue.Build(catalogue.Announcement{Services: []string{"acme.Echoes"}, Files: tc.files}, catalogue.Limits{})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestBuildRefusesTypesThatNoQueueCanBeNamedAfter(t *testing.T) {
	t.Parallel()
	file := echoFile("echo.proto", "acme", "Echoes", "text")
	long := strings.Repeat("L", catalogue.MaxTypeName-len("acme.Echoes."))
	file.Service[0].Method = append(file.Service[0].Method,
		method(long, ".acme.Echo", ".acme.Echo"), method(long+"x", ".acme.Echo", ".acme.Echo"))
	b := mustBuild(t, announce(t, "acme.Echoes", file))
	require.Equal(t, []string{"acme.Echoes." + long, "acme.Echoes.Say"}, typeNames(b.TaskTypes()))
	require.Len(t, b.Refusals(), 1)
	require.Contains(t, b.Refusals()[0].Message, "at most 200")
}

func TestBuildKeepsItsOwnBytes(t *testing.T) {
	t.Parallel()
	a := imageAnnouncement(t)
	want := encode(t, wellKnown()[0])[0]
	b := mustBuild(t, a)
	for _, file := range a.Files {
		clear(file)
	}
	require.Equal(t, want, b.Files()[0])
}

func TestBuildRefusesTwoExtensionsOfOneNumber(t *testing.T) {
	t.Parallel()
	ext := func(name string) *fieldProto {
		f := field(name, 60000, typeString, optional)
		f.Extendee = proto.String(".google.protobuf.MethodOptions")
		return f
	}
	file := echoFile("echo.proto", "acme", "Echoes", "text")
	file.Dependency = []string{"google/protobuf/descriptor.proto"}
	file.Extension = []*fieldProto{ext("a"), ext("b")}
	_, err := catalogue.Build(announce(t, "acme.Echoes", descriptorFile(), file), catalogue.Limits{})
	require.ErrorContains(t, err, "acme.a and acme.b")
}
