package schema

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestJSONOfPayloads(t *testing.T) {
	t.Parallel()
	s := New(newGateway(t))
	want := &demov1.FailRequest{Code: 9, Message: "ü <&>", Reason: "R"}
	payload, err := s.Encode(t.Context(), "demo.v1.FaultService.Fail", []byte(`{"code": 9, "message": "ü <&>", "reason": "R"}`))
	require.NoError(t, err)
	got := &demov1.FailRequest{}
	require.NoError(t, proto.Unmarshal(payload, got))
	require.True(t, proto.Equal(want, got))
	text, err := s.JSON(t.Context(), "demo.v1.FaultService.Fail", payload)
	require.NoError(t, err)
	require.Equal(t, "{\n  \"code\": 9,\n  \"message\": \"ü <&>\",\n  \"reason\": \"R\"\n}\n", string(text))

	text, err = s.JSON(t.Context(), "demo.v1.FaultService.Fail", nil)
	require.NoError(t, err)
	require.Equal(t, "{}\n", string(text))
	for _, bad := range [][]byte{{0xff}, []byte("garbage")} {
		_, err = s.JSON(t.Context(), "demo.v1.FaultService.Fail", bad)
		require.ErrorIs(t, err, catalogue.ErrPayloadUndecodable)
	}

	payload, err = proto.Marshal(&demov1.DelayRequest{Delay: &durationpb.Duration{Seconds: 1, Nanos: 500_000_000}})
	require.NoError(t, err)
	text, err = s.JSON(t.Context(), "demo.v1.FaultService.Delay", payload)
	require.NoError(t, err)
	require.Contains(t, string(text), `"delay": "1.500s"`)
	again, err := s.Encode(t.Context(), "demo.v1.FaultService.Delay", text)
	require.NoError(t, err)
	require.Equal(t, payload, again)
}

// An Any inside a payload may hold a type of the type's own files.
func TestAnyInsideAPayload(t *testing.T) {
	t.Parallel()
	s := New(newGateway(t))
	const text = `{"detail": {"@type": "type.googleapis.com/acme.Item", "name": "abc"}}`
	payload, err := s.Encode(t.Context(), typeSay, []byte(text))
	require.NoError(t, err)
	shown, err := s.JSON(t.Context(), typeSay, payload)
	require.NoError(t, err)
	require.JSONEq(t, text, string(shown))
	_, err = s.Encode(t.Context(), typeSay, []byte(`{"detail": {"@type": "type.googleapis.com/acme.Gone"}}`))
	require.ErrorIs(t, err, catalogue.ErrPayloadUndecodable)
}

func TestWrongJSONIsLocated(t *testing.T) {
	t.Parallel()
	s := New(newGateway(t))
	for text, field := range map[string]string{
		``:                   "",
		`{`:                  "",
		`[]`:                 "",
		`{"items": [], }`:    "",
		`{"colour": 1}`:      "colour",
		`{"items": 5}`:       "items",
		`{"items": {}}`:      "items",
		`{"items": [{}, 7]}`: "items[1]",
		`{"items": [{"name": "a"}, {"size": 1}, {"name": 3}]}`: "items[2].name",
		`{"items": [{"size": "x"}]}`:                           "items[0].size",
		`{"items": [{"colour": "x"}]}`:                         "items[0].colour",
		`{"namedItems": {"a": {}, "b c": {"size": 1.5}}}`:      `named_items["b c"].size`,
		`{"named_items": {"a": null}}`:                         `named_items["a"]`,
		`{"count": 99999999999}`:                               "count",
		`{"delay": {"seconds": 3}}`:                            "delay",
		`{"detail": {"@type": "x"}}`:                           "detail",
	} {
		_, err := s.Encode(t.Context(), typeSay, []byte(text))
		var bad *catalogue.PayloadError
		require.ErrorAs(t, err, &bad, text)
		require.ErrorIs(t, err, catalogue.ErrPayloadUndecodable)
		require.Equal(t, field, bad.Field, text)
		require.NotContains(t, err.Error(), "\u00a0")
	}
}

// FuzzEncode has the JSON of whatever could be read be read as the same again, and the
// place of what could not be found without harm.
func FuzzEncode(f *testing.F) {
	for _, seed := range []string{`{"items":[{"name":"a"},{"size":"x"}]}`, `{"namedItems":{"a":{"size":1}}}`, `{"detail":{"@type":"acme.Item"}}`, `{"count":1e1}`, `[`} {
		f.Add([]byte(seed))
	}
	s := New(newGateway(f))
	f.Fuzz(func(t *testing.T, text []byte) {
		payload, err := s.Encode(t.Context(), typeSay, text)
		if err != nil {
			require.ErrorIs(t, err, catalogue.ErrPayloadUndecodable)
			return
		}
		shown, err := s.JSON(t.Context(), typeSay, payload)
		require.NoError(t, err)
		again, err := s.Encode(t.Context(), typeSay, shown)
		require.NoError(t, err)
		require.Equal(t, payload, again)
	})
}
