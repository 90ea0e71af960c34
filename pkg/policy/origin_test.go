package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// saidBy is what is not the default.
func saidBy(declared, override *taskv1.TaskOptions, paths ...string) map[string]Origin {
	out := map[string]Origin{}
	for _, s := range Sources(declared, override, paths) {
		if s.Origin != OriginDefault {
			out[s.Path] = s.Origin
		}
	}
	return out
}

func TestSources(t *testing.T) {
	t.Parallel()
	require.Empty(t, saidBy(nil, nil))
	all := Sources(nil, nil, nil)
	var paths []string
	for _, s := range all {
		paths = append(paths, s.Path)
	}
	require.Subset(t, paths, []string{
		"timeout", "priority", "retry.max_attempts", "retry.backoff", "retry.budget", "retry.rules", "at_most_once", "expiry",
		"queue_limit.max_length", "queue_limit.overflow", "retention",
	})
	require.NotContains(t, paths, "retry", "its parts are there")

	declared := &taskv1.TaskOptions{
		Timeout: durationpb.New(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 3, Budget: durationpb.New(time.Hour)},
		QueueLimit: &taskv1.QueueLimit{MaxLength: 9},
	}
	require.Equal(t, map[string]Origin{
		"timeout": OriginDeclared, "retry.max_attempts": OriginDeclared, "retry.budget": OriginDeclared, "queue_limit.max_length": OriginDeclared,
	}, saidBy(declared, nil))

	// An operator has overridden one field, and one message as a whole.
	override := &taskv1.TaskOptions{
		Timeout: durationpb.New(time.Second), Retry: &taskv1.RetryPolicy{Backoff: &taskv1.Backoff{}}, Priority: taskv1.Priority_PRIORITY_HIGH,
	}
	require.Equal(t, map[string]Origin{
		"timeout": OriginOverride, "retry.backoff": OriginOverride, "queue_limit.max_length": OriginDeclared,
	}, saidBy(declared, override, "timeout", "retry", "unheard_of"))

	once := &taskv1.TaskOptions{AtMostOnce: proto.Bool(true)}
	require.Equal(t, map[string]Origin{
		"timeout": OriginDeclared, "retry.budget": OriginDeclared, "queue_limit.max_length": OriginDeclared,
		"at_most_once": OriginOverride, "retry.max_attempts": OriginOverride,
	}, saidBy(declared, once, "at_most_once"), "it leaves one attempt")
}

// Where the origin says so, the value is the one that was said.
func TestSourcesAgreeWithWhatIsInForce(t *testing.T) {
	t.Parallel()
	declared := &taskv1.TaskOptions{Timeout: durationpb.New(time.Minute), Retention: durationpb.New(time.Hour), Priority: taskv1.Priority_PRIORITY_LOW}
	override := &taskv1.TaskOptions{Retention: durationpb.New(time.Second), Expiry: durationpb.New(time.Minute)}
	names := []string{"retention", "expiry", "priority"}
	inForce, byDefault := Effective(declared, override, names), Effective(nil, nil, nil)
	from := map[Origin]*taskv1.TaskOptions{OriginDefault: byDefault, OriginDeclared: declared, OriginOverride: override}
	for _, s := range Sources(declared, override, names) {
		p := known([]string{s.Path})[0]
		want, wantOK := p.get(from[s.Origin].ProtoReflect())
		got, ok := p.get(inForce.ProtoReflect())
		require.Equal(t, wantOK, ok, s.Path)
		require.True(t, want.Equal(got), s.Path)
	}
}
