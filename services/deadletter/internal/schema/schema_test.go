package schema

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// The verdict on a payload, and its words, are those of the gateway's own catalogue.
func TestCheckIsTheGatewaysOwn(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	s := New(g)
	own := g.types[typeSay]
	for text, want := range map[string]error{
		`{}`: nil,
		`{"items": [{"name": "abc"}], "count": 4, "delay": "3s"}`: nil,
		`{"items": [{"name": "ab"}, {"name": "abcd"}]}`:           catalogue.ErrPayloadInvalid,
		`{"namedItems": {"x": {"name": "abcd"}}}`:                 catalogue.ErrPayloadInvalid,
		`{"count": 3}`: catalogue.ErrPayloadInvalid, // by a predefined rule
	} {
		payload, err := s.Encode(t.Context(), typeSay, []byte(text))
		require.NoError(t, err, text)
		got := s.Check(t.Context(), typeSay, payload)
		if want == nil {
			require.NoError(t, got, text)
			continue
		}
		require.ErrorIs(t, got, want, text)
		require.EqualError(t, own.Validate(payload), got.Error(), text)
		var bad *catalogue.PayloadError
		require.ErrorAs(t, got, &bad)
		require.NotEmpty(t, bad.Violations[0].Field)
	}
	for _, garbage := range [][]byte{{0xff}, {10, 2, 10, 9}, []byte("garbage")} {
		got := s.Check(t.Context(), typeSay, garbage)
		require.ErrorIs(t, got, catalogue.ErrPayloadUndecodable)
		require.EqualError(t, own.Validate(garbage), got.Error())
	}
	require.NoError(t, s.Check(t.Context(), "demo.v1.FaultService/Fail", nil), "a name may have a slash")
}

func TestWhatCannotBeTold(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	s := New(g)
	for name, call := range map[string]func(ctx context.Context, taskType string) error{
		"Check": func(ctx context.Context, taskType string) error { return s.Check(ctx, taskType, nil) },
		"Encode": func(ctx context.Context, taskType string) error {
			_, err := s.Encode(ctx, taskType, []byte("{}"))
			return err
		},
		"JSON": func(ctx context.Context, taskType string) error { _, err := s.JSON(ctx, taskType, nil); return err },
	} {
		require.ErrorIs(t, call(t.Context(), "acme.Echoes.Gone"+name), ErrUnknownType, name)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		g.mu.Lock()
		g.err = status.Error(codes.Unavailable, "away")
		g.mu.Unlock()
		require.ErrorIs(t, call(ended, "acme.Echoes."+name), context.Canceled, name)
		err := call(t.Context(), "acme.Echoes."+name)
		require.ErrorIs(t, err, ErrGateway, name)
		require.NotErrorIs(t, err, ErrUnknownType, name)
		g.mu.Lock()
		g.err = nil
		g.mu.Unlock()
	}
	limit, err := s.MaxPayloadBytes(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1000, limit)
	g.err = errors.New("away")
	_, err = s.MaxPayloadBytes(t.Context())
	require.ErrorIs(t, err, ErrGateway)
}

// One asks for all; what is known holds for a while, and what was built for longer.
func TestTypesAreAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.wait = make(chan struct{})
		s := New(g)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.NoError(t, s.Check(t.Context(), typeSay, nil)) })
		}
		gone, cancel := context.WithCancel(t.Context())
		wg.Go(func() { assert.ErrorIs(t, s.Check(gone, typeSay, nil), context.Canceled) })
		synctest.Wait()
		require.Equal(t, 1, g.times())
		cancel()
		synctest.Wait()
		close(g.wait)
		wg.Wait()
		require.LessOrEqual(t, g.times(), 2, "twice only if the one who asked first was cut off")

		asked := g.times()
		<-time.After(fresh - time.Nanosecond)
		require.NoError(t, s.Check(t.Context(), typeSay, nil))
		require.Equal(t, asked, g.times())
		built := s.cache.entry(typeSay).known
		<-time.After(time.Nanosecond)
		require.NoError(t, s.Check(t.Context(), typeSay, nil))
		require.Equal(t, asked+1, g.times())
		require.True(t, built.Input == s.cache.entry(typeSay).known.Input, "the same descriptors are not built again")

		// A new version counts.
		long, err := s.Encode(t.Context(), typeSay, []byte(`{"items": [{"name": "abcd"}]}`))
		require.NoError(t, err)
		require.ErrorIs(t, s.Check(t.Context(), typeSay, long), catalogue.ErrPayloadInvalid)
		g.put(acme(t, 4))
		<-time.After(fresh)
		require.NoError(t, s.Check(t.Context(), typeSay, long))

		// A gateway that is away is not asked by each of many either.
		g.err = errors.New("away")
		<-time.After(fresh)
		asked = g.times()
		for range 10 {
			require.ErrorIs(t, s.Check(t.Context(), typeSay, nil), ErrGateway)
		}
		require.Equal(t, asked+1, g.times())
	})
}

func TestKeepsSoManyTypes(t *testing.T) {
	t.Parallel()
	s := New(newGateway(t))
	for i := range 3 * maxTypes {
		require.ErrorIs(t, s.Check(t.Context(), "a.B."+strings.Repeat("x", i), nil), ErrUnknownType)
		require.LessOrEqual(t, len(s.cache.types), maxTypes)
	}
	require.NoError(t, s.Check(t.Context(), typeSay, nil))
	require.Len(t, s.cache.bundles, 1)
}

func TestDescriptorsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, set := range [][]byte{{0xff}, {8, 1}, {10, 200}, {10, 1, 0xff}} {
		_, err := filesOf(set)
		if err == nil {
			_, err = catalogue.Build(catalogue.Announcement{Services: []string{"a.B"}, Files: [][]byte{{0xff}}}, limits)
		}
		require.Error(t, err)
	}
	require.Empty(t, serviceOf("x"))
	require.Equal(t, "a.v1.B", serviceOf("a.v1.B.C"))
}
