package tasktypes

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

func TestRetiredTypesGo(t *testing.T) {
	t.Parallel()
	known, stored := catalogue.New(), &overrides{}
	register(t, known, time.Unix(1, 0), nil)
	types := New(known, stored, quiet())
	require.NoError(t, types.Refresh(t.Context()))
	retire := func(second int64) {
		stored.retired = []store.Retirement{{TaskType: resize, Input: "acme.v1.M", Output: "acme.v1.M", Time: time.Unix(second, 0)}}
		require.NoError(t, types.Refresh(t.Context()))
	}
	retire(5)
	_, ok := types.Type(resize)
	require.False(t, ok)
	_, ok = types.Type(crop)
	require.True(t, ok)
	shown, ok := known.Retired(resize)
	require.True(t, ok)
	require.EqualValues(t, "acme.v1.M", shown.Input.FullName())

	// A worker has brought it back, and the store does not know that yet.
	register(t, known, time.Unix(2, 0), nil)
	require.NoError(t, types.Refresh(t.Context()))
	_, ok = types.Type(resize)
	require.True(t, ok)
	stored.retired = nil
	require.NoError(t, types.Refresh(t.Context()))
	_, ok = known.Retired(resize)
	require.False(t, ok)

	retire(9)
	_, ok = types.Type(resize)
	require.False(t, ok, "it was retired once more")

	stored.err = errors.New("away")
	require.Error(t, types.Refresh(t.Context()))
	_, ok = known.Retired(resize)
	require.True(t, ok, "what was read last counts")
}

func TestSourcesOfWhatIsInForce(t *testing.T) {
	t.Parallel()
	known, stored := catalogue.New(), &overrides{}
	register(t, known, time.Unix(1, 0), &taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{
		{Codes: []string{"NOT_FOUND"}, Action: taskv1.RetryAction_RETRY_ACTION_RETRY},
	}}})
	types := New(known, stored, quiet())
	origin := func(path string) policy.Origin {
		shown, ok := types.Type(resize)
		require.True(t, ok)
		for _, s := range shown.Sources() {
			if s.Path == path {
				return s.Origin
			}
		}
		return 0
	}
	require.Equal(t, policy.OriginDeclared, origin("retry.rules"))
	require.Equal(t, policy.OriginDefault, origin("timeout"))
	stored.stored = []store.Override{override(t, resize, 1, &taskv1.TaskOptions{Priority: taskv1.Priority_PRIORITY_HIGH}, "priority")}
	require.NoError(t, types.Refresh(t.Context()))
	require.Equal(t, policy.OriginOverride, origin("priority"))

	// One that is not in force, because it does not go with what is declared.
	once := true
	stored.stored = []store.Override{override(t, resize, 2, &taskv1.TaskOptions{AtMostOnce: &once}, "at_most_once")}
	require.NoError(t, types.Refresh(t.Context()))
	require.Equal(t, policy.OriginDefault, origin("at_most_once"))
}

// A worker brings a type back between two looks at the store.
func TestATypeThatIsLetInMeanwhileStays(t *testing.T) {
	t.Parallel()
	known, stored := catalogue.New(), &overrides{}
	types := New(known, stored, quiet())
	busy := false
	var unsaved map[string]bool
	before := func() {}
	types.LetIn(func(f func(map[string]bool)) bool {
		if !busy {
			before()
			f(unsaved)
		}
		return !busy
	})
	has := func(want bool, why string) {
		t.Helper()
		require.NoError(t, types.Refresh(t.Context()))
		_, ok := types.Type(resize)
		require.Equal(t, want, ok, why)
	}
	stored.retired = []store.Retirement{{TaskType: resize, Method: "/acme.v1.ImageService/Resize", Input: "acme.v1.M", Output: "acme.v1.M", Time: time.Unix(5, 0)}}
	before = func() {
		register(t, known, time.Unix(1, 0), nil)
		stored.retired = nil
	}
	has(true, "it was let in and stored since it was read")

	before = func() {}
	stored.retired = []store.Retirement{{TaskType: resize, Method: "/acme.v1.ImageService/Resize", Input: "acme.v1.M", Output: "acme.v1.M", Time: time.Unix(6, 0)}}
	busy = true
	has(true, "somebody is being let in")
	busy, unsaved = false, map[string]bool{"/acme.v1.ImageService/Resize": true}
	has(true, "the store has not heard of it")
	unsaved = nil
	has(false, "it is retired")
}
