package registry

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const sayType = "acme.v1.Echoes.Say"

// allow has an operator allow any change of the type, or no more.
func (f *fixture) allow(t testing.TB, version int64, allowed bool) {
	t.Helper()
	options, err := proto.Marshal(&taskv1.TaskOptions{AllowIncompatible: &allowed})
	require.NoError(t, err)
	require.NoError(t, f.store.PutOverride(t.Context(), store.Override{
		TaskType: sayType, Version: version, Options: options, Paths: []string{"allow_incompatible"}, Reason: "drained", Time: time.Now(),
	}))
	require.NoError(t, f.types.Refresh(t.Context()))
}

// unreadFixture could not read its store yet.
func unreadFixture(t testing.TB, s *outage) *fixture {
	t.Helper()
	f := newFixture(t, s)
	f.setLoading(true)
	s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
	f.load(t.Context())
	require.False(t, f.Loaded())
	return f
}

// read has it read its store.
func (f *fixture) read(t testing.TB) {
	t.Helper()
	f.store.set(nil)
	f.load(t.Context())
	require.True(t, f.Loaded())
	require.NoError(t, f.types.Refresh(t.Context()))
}

// requireAskedAgain has a worker register that gets no answer yet.
func (f *fixture) requireAskedAgain(t testing.TB, start time.Time, a catalogue.Announcement) {
	t.Helper()
	before := len(f.told.messages)
	f.registerStarted(t, start, a)
	require.Len(t, f.told.messages, before)
}

// A refused worker ends, so what is not known must not be taken for a no.
func TestNothingIsRefusedBeforeTheStoreWasRead(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	v1, v2, v3 := shape(t, []int32{1}), shape(t, []int32{1, 2}), shape(t, []int32{4})
	start := time.Now().Add(-time.Hour)
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	f := loadedFixture(t, s)
	f.registerStarted(t, minute(1), v1)
	f.registerStarted(t, minute(2), v2)

	// A gateway starts anew in the middle of the deploy.
	f = unreadFixture(t, s)
	require.Len(t, f.registerStarted(t, minute(2), v2).Types, 1)
	f.requireAskedAgain(t, minute(3), v1)
	f.allow(t, 1, true)
	f.requireAskedAgain(t, minute(3), v3)
	f.read(t)
	require.Len(t, f.registerStarted(t, minute(3), v1).Types, 1, "it was let in before")
	require.Len(t, f.registerStarted(t, minute(4), v3).Types, 1, "it is allowed")
}

// The version in force is not the only one that has workers and tasks.
func TestAVersionHasToGoWithAllThatAreInUse(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := loadedFixture(t, s)
	start := time.Now().Add(-time.Hour)
	v1, v2 := shape(t, []int32{1}), shape(t, []int32{1, 2})
	for i, a := range []catalogue.Announcement{v1, v2, v1} {
		require.Len(t, f.registerStarted(t, start.Add(time.Duration(i)*time.Minute), a).Types, 1)
	}
	require.Equal(t, 1, f.inForce(t))
	wrong, right := shape(t, []int32{1, 3}), shape(t, []int32{1, 3}, 2)
	later := start.Add(10 * time.Minute)
	for _, f := range []*fixture{f, loadedFixture(t, s)} {
		requireRefused(t, f.registerStarted(t, later, wrong), "acme.v1.Echo.f2", catalogue.RuleFieldDeleted)
	}
	require.Len(t, f.registerStarted(t, later, right).Types, 1)

	// What was retired binds nobody.
	_, found := f.cfg.Catalogue.Retire(sayType)
	require.True(t, found)
	require.Len(t, f.registerStarted(t, later.Add(time.Minute), shape(t, []int32{5})).Types, 1)
}

func TestAVersionHasToGoWithAnotherOneOfAService(t *testing.T) {
	t.Parallel()
	f := loadedFixture(t, newStore(t))
	start := time.Now().Add(-time.Hour)
	old, second := shape(t, []int32{1, 2}), shapeOf(t, "acme.v2", []int32{1})
	both := catalogue.Announcement{Services: append(old.Services, second.Services...), Files: append(old.Files, second.Files...)}
	require.Len(t, f.registerStarted(t, start, both).Types, 2)
	f.allow(t, 1, true)
	require.Len(t, f.registerStarted(t, start.Add(time.Minute), shape(t, []int32{1})).Types, 1)
	f.allow(t, 2, false)

	// The first version counts for its second service only.
	next := shape(t, []int32{1, 3})
	next.Services, next.Files = append(next.Services, second.Services...), append(next.Files, second.Files...)
	require.Len(t, f.registerStarted(t, start.Add(2*time.Minute), next).Types, 2)
}

// After a break that an operator has allowed, going back is one as well.
func TestTheVersionsBeforeAnAllowedBreak(t *testing.T) {
	t.Parallel()
	v1, v2 := shape(t, []int32{1, 2}), shape(t, []int32{1, 3, 4})
	for name, storeFails := range map[string]bool{"stored at once": false, "stored later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			f := loadedFixture(t, s)
			start := time.Now().Add(-time.Hour)
			minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
			f.registerStarted(t, minute(-1), shape(t, []int32{1}))
			f.registerStarted(t, start, v1)
			f.allow(t, 1, true)
			if storeFails {
				s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
			}
			require.Len(t, f.registerStarted(t, minute(1), v2).Types, 1)
			require.Len(t, f.registerStarted(t, minute(2), v2).Types, 1)
			require.Len(t, f.registerStarted(t, start, v1).Types, 1, "a worker of before registers again")
			require.Equal(t, 3, f.inForce(t))
			s.set(nil)
			f.save(t.Context())

			f.allow(t, 2, false)
			for i, f := range []*fixture{f, loadedFixture(t, s)} {
				requireRefused(t, f.registerStarted(t, minute(3+i), v1), "acme.v1.Echo.f3")
				require.Len(t, f.registerStarted(t, minute(3+i), v2).Types, 1)
			}
		})
	}
}

func TestWhatCameInBeforeTheStoreWasReadIsReported(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	start := time.Now().Add(-time.Hour)
	stored := loadedFixture(t, s)
	stored.registerStarted(t, start.Add(-time.Minute), shape(t, []int32{1, 2}))
	stored.registerStarted(t, start, shape(t, []int32{1, 2, 3}))
	for name, tc := range map[string]struct {
		fields []int32
		want   []string
	}{
		"it does not go with what is stored": {[]int32{1}, []string{"acme.v1.Echo.f2", "acme.v1.Echo.f3"}},
		"it does":                            {[]int32{1, 2, 3, 4}, nil},
		"it is stored":                       {[]int32{1, 2}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := unreadFixture(t, s)
			var log bytes.Buffer
			f.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
			require.Len(t, f.registerStarted(t, start.Add(time.Minute), shape(t, tc.fields)).Types, 1)
			require.Empty(t, log.String())
			f.read(t)
			require.Equal(t, len(tc.want), strings.Count(log.String(), "level=ERROR"), log.String())
			for _, want := range tc.want {
				require.Contains(t, log.String(), want)
			}
			require.Equal(t, len(tc.fields), f.inForce(t), "it goes on")
		})
	}
}

func TestWhatARefusalAdvises(t *testing.T) {
	t.Parallel()
	f := loadedFixture(t, newStore(t))
	start := time.Now().Add(-time.Hour)
	f.registerStarted(t, start, shape(t, []int32{1, 2}))
	requireRefused(t, f.registerStarted(t, start.Add(time.Minute), shape(t, []int32{1})),
		`{"name": "acme.v1.Echoes.Say", "options": {"allow_incompatible": true}, "update_mask": {"paths": ["allow_incompatible"]}, "reason": "…"}`)
}

func TestRefusalsOfManyTypes(t *testing.T) {
	t.Parallel()
	bundle, err := catalogue.Build(shape(t, []int32{1}), catalogue.Limits{})
	require.NoError(t, err)
	found := catalogue.Findings{Total: 2 * maxBecause}
	for i := range found.Total {
		found.Named = append(found.Named, catalogue.Finding{Type: fmt.Sprintf("acme.v1.Echoes.M%02d", i)})
	}
	out := refusals(bundle, found)
	require.Len(t, out, found.Total+1)
	last := out[found.Total]
	require.Equal(t, &brokerv1.Refusal{Name: "acme.v1.Echoes", Service: true, Message: last.Message}, last)
	require.Contains(t, last.Message, "M09 and 10 more")
}
