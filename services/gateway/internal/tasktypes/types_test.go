package tasktypes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	resize = "acme.v1.ImageService.Resize"
	crop   = "acme.v1.ImageService.Crop"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// overrides stand for a store.
type overrides struct {
	stored  []store.Override
	retired []store.Retirement
	err     error
	reads   atomic.Int64
	// read gets one for each read, unless it is nil.
	read chan struct{}
}

func (o *overrides) Retirements(context.Context) ([]store.Retirement, error) {
	return o.retired, o.err
}

func (o *overrides) Overrides(context.Context) ([]store.Override, error) {
	o.reads.Add(1)
	if o.read != nil {
		o.read <- struct{}{}
	}
	return o.stored, o.err
}

func override(t testing.TB, taskType string, version int64, options *taskv1.TaskOptions, paths ...string) store.Override {
	t.Helper()
	b, err := proto.Marshal(options)
	require.NoError(t, err)
	return store.Override{
		TaskType: taskType, Version: version, Options: b, Paths: paths, Reason: "a test",
		Time: time.UnixMicro(1e15).UTC(),
	}
}

// register has the catalogue know the two types, the first with these options.
func register(t testing.TB, c *catalogue.Catalogue, start time.Time, options *taskv1.TaskOptions) {
	t.Helper()
	method := &descriptorpb.MethodOptions{}
	if options != nil {
		proto.SetExtension(method, taskv1.E_Task, options)
	}
	message := proto.String(".acme.v1.M")
	b, err := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: proto.String("acme/v1/acme.proto"), Package: proto.String("acme.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("ImageService"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Resize"), InputType: message, OutputType: message, Options: method},
			{Name: proto.String("Crop"), InputType: message, OutputType: message},
		}}},
	})
	require.NoError(t, err)
	bundle, err := catalogue.Build(catalogue.Announcement{Services: []string{"acme.v1.ImageService"}, Files: [][]byte{b}}, catalogue.Limits{})
	require.NoError(t, err)
	require.Empty(t, bundle.Refusals())
	_, err = c.Put(bundle, start)
	require.NoError(t, err)
}

func TestWhatIsInForce(t *testing.T) {
	t.Parallel()
	known, stored := catalogue.New(), &overrides{}
	types := New(known, stored, quiet())
	_, _, ok := types.Effective(resize)
	require.False(t, ok, "nobody knows it")
	require.False(t, types.Loaded())

	declared := &taskv1.TaskOptions{Timeout: durationpb.New(time.Minute), Retention: durationpb.New(time.Hour)}
	register(t, known, time.Unix(1, 0), declared)
	effective, rules, ok := types.Effective("acme.v1.ImageService/Resize")
	require.True(t, ok)
	require.True(t, proto.Equal(policy.Effective(declared, nil, nil), effective))
	require.Equal(t, time.Minute, rules.Timeout())
	again, _, _ := types.Effective(resize)
	require.Same(t, effective, again, "it is made once")
	require.Equal(t, map[string]time.Duration{resize: time.Hour}, types.Retentions())
	require.Empty(t, types.QueueLimits())

	update := &taskv1.TaskOptions{Timeout: durationpb.New(2 * time.Minute), QueueLimit: &taskv1.QueueLimit{MaxLength: 9}}
	stored.stored = []store.Override{
		override(t, resize, 3, update, "timeout", "queue_limit.max_length"),
		override(t, "acme.v1.Gone.Away", 1, update, "timeout"),
	}
	require.NoError(t, types.Refresh(t.Context()))
	require.True(t, types.Loaded())
	effective, rules, _ = types.Effective(resize)
	require.True(t, proto.Equal(policy.Effective(declared, update, []string{"timeout", "queue_limit.max_length"}), effective))
	require.Equal(t, 2*time.Minute, rules.Timeout())
	require.Equal(t, map[string]int64{resize: 9}, types.QueueLimits())
	require.NoError(t, types.Refresh(t.Context()))
	again, _, _ = types.Effective(resize)
	require.Same(t, effective, again, "nothing has changed")

	shown, ok := types.Type(resize)
	require.True(t, ok)
	require.EqualValues(t, 3, shown.Override.Version)
	require.Equal(t, "a test", shown.Override.Reason)
	require.True(t, proto.Equal(update, shown.Override.Options))
	require.True(t, proto.Equal(declared, shown.Options))
	all := types.All()
	require.Len(t, all, 2)
	require.Equal(t, crop, all[0].Name)
	require.Zero(t, all[0].Override)
	require.Equal(t, shown, all[1])

	// The type's author changes their mind; the operator's word stands.
	register(t, known, time.Unix(2, 0), &taskv1.TaskOptions{Timeout: durationpb.New(time.Second), Priority: taskv1.Priority_PRIORITY_HIGH})
	effective, _, _ = types.Effective(resize)
	require.Equal(t, 2*time.Minute, effective.Timeout.AsDuration())
	require.Equal(t, taskv1.Priority_PRIORITY_HIGH, effective.Priority)
	require.Empty(t, types.Retentions())

	stored.stored = []store.Override{override(t, resize, 4, nil)}
	require.NoError(t, types.Refresh(t.Context()))
	effective, _, _ = types.Effective(resize)
	require.Equal(t, time.Second, effective.Timeout.AsDuration(), "back to what is declared")
}

func TestLastOverridesStandWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	known, stored := catalogue.New(), &overrides{}
	register(t, known, time.Unix(1, 0), nil)
	types := New(known, stored, quiet())
	stored.stored = []store.Override{override(t, resize, 1, &taskv1.TaskOptions{Timeout: durationpb.New(time.Second)}, "timeout")}
	require.NoError(t, types.Refresh(t.Context()))
	stored.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	require.ErrorIs(t, types.Refresh(t.Context()), store.ErrUnavailable)
	effective, _, ok := types.Effective(resize)
	require.True(t, ok)
	require.Equal(t, time.Second, effective.Timeout.AsDuration())
}

func TestOverridesThatAreNoGoodCostNothingElse(t *testing.T) {
	t.Parallel()
	known, stored := catalogue.New(), &overrides{}
	retried := &taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{
		{Codes: []string{"NOT_FOUND"}, Action: taskv1.RetryAction_RETRY_ACTION_RETRY},
	}}}
	register(t, known, time.Unix(1, 0), retried)
	types := New(known, stored, quiet())
	for name, bad := range map[string]store.Override{
		"garbage": {TaskType: resize, Version: 5, Options: []byte{0x0a, 0x05, 'x'}, Paths: []string{"timeout"}},
		// It was right for what the method declared then.
		"contradiction": override(t, resize, 5, &taskv1.TaskOptions{AtMostOnce: proto.Bool(true)}, "at_most_once"),
	} {
		stored.stored = []store.Override{bad, override(t, crop, 1, &taskv1.TaskOptions{Timeout: durationpb.New(time.Second)}, "timeout")}
		require.NoError(t, types.Refresh(t.Context()), name)
		effective, rules, ok := types.Effective(resize)
		require.True(t, ok, name)
		require.True(t, proto.Equal(policy.Effective(retried, nil, nil), effective), name)
		require.False(t, rules.AtMostOnce(), name)
		shown, _ := types.Type(resize)
		require.EqualValues(t, 5, shown.Override.Version, "so that it can be replaced")
		effective, _, _ = types.Effective(crop)
		require.Equal(t, time.Second, effective.Timeout.AsDuration(), name)
		stored.stored = nil
		require.NoError(t, types.Refresh(t.Context()))
	}
}

func TestOtherReplicasOverridesArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stored := &overrides{err: errors.New("away"), read: make(chan struct{}, 3)}
		types := New(catalogue.New(), stored, quiet())
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			types.Run(ctx)
		}()
		synctest.Wait()
		require.EqualValues(t, 1, stored.reads.Load(), "at once")
		for range 3 {
			<-stored.read
		}
		synctest.Wait()
		require.Equal(t, 2*refreshPeriod, time.Since(began))
		require.EqualValues(t, 3, stored.reads.Load())
		require.False(t, types.Loaded())
		cancel()
		<-ended
	})
}

func TestOverAStore(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	defer s.Close()
	known := catalogue.New()
	register(t, known, time.Unix(1, 0), nil)
	types := New(known, s, quiet())
	for version := int64(1); version <= 3; version++ {
		timeout := time.Duration(version) * time.Second
		require.NoError(t, s.PutOverride(t.Context(), override(t, resize, version, &taskv1.TaskOptions{Timeout: durationpb.New(timeout)}, "timeout")))
		require.NoError(t, types.Refresh(t.Context()))
		effective, _, _ := types.Effective(resize)
		require.Equal(t, timeout, effective.Timeout.AsDuration())
		shown, _ := types.Type(resize)
		require.Equal(t, version, shown.Override.Version)
		require.Equal(t, []string{"timeout"}, shown.Override.Paths)
		require.Equal(t, time.UnixMicro(1e15).UTC(), shown.Override.Time)
	}
}
