// Package tasktypes says what is in force for each task type: what its method
// declares, as the catalogue has it, and what an operator has overridden, as the
// store has it.
package tasktypes

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// refreshPeriod is how soon overrides that another replica has stored are
	// known here.
	refreshPeriod = time.Second
	// logPeriod is the time between two log lines about overrides that can't be
	// read.
	logPeriod = 10 * time.Second
)

// Store keeps overrides, and which task types are retired.
type Store interface {
	Overrides(ctx context.Context) ([]store.Override, error)
	Retirements(ctx context.Context) ([]store.Retirement, error)
}

// Override is what an operator has set of a task type's options.
type Override struct {
	// Version is that of [store.Override]; 0 is that there never was one.
	Version int64
	// Options and Paths are what it is about; without paths all is as declared.
	Options *taskv1.TaskOptions
	Paths   []string
	Reason  string
	Time    time.Time
}

// Type is a task type with what is in force for it. It must not be modified.
type Type struct {
	catalogue.TaskType
	Override Override
	// Effective is what [policy.Effective] makes of what is declared and overridden.
	Effective *taskv1.TaskOptions
	Policy    policy.Policy
	// Overridden says that the override is part of that. It is not if there is none, or
	// if it does not go with what the method declares now.
	Overridden bool
}

// Sources says where each of the options in force comes from.
func (t *Type) Sources() []policy.Source {
	if !t.Overridden {
		return policy.Sources(t.Options, nil, nil)
	}
	return policy.Sources(t.Options, t.Override.Options, t.Override.Paths)
}

// Types are the task types. Its methods are safe for concurrent use and, but for
// Refresh, never wait.
type Types struct {
	catalogue *catalogue.Catalogue
	store     Store
	log       *slog.Logger
	unread    rate.Sometimes

	// refreshing lets no older answer of the store replace a newer one.
	refreshing sync.Mutex
	// overrides are by task type; nil until they were read.
	overrides atomic.Pointer[map[string]*Override]
	// rules has a *rules for each task type's name.
	rules sync.Map
	// retired has the times of the retirements that are known, by task type. Only
	// Refresh uses it.
	retired map[string]time.Time
	// undisturbed is nil or what LetIn has set.
	undisturbed func(func(unsaved map[string]bool)) bool
}

// rules are what was made of one set of declared options and one override.
type rules struct {
	declared  *taskv1.TaskOptions
	override  *Override
	effective *taskv1.TaskOptions
	policy    policy.Policy
	// overridden says that the override is part of that.
	overridden bool
}

// New makes the types of a catalogue. Run reads the overrides; until then there
// are none.
func New(c *catalogue.Catalogue, s Store, log *slog.Logger) *Types {
	return &Types{catalogue: c, store: s, log: log, unread: rate.Sometimes{Interval: logPeriod}}
}

// LetIn says how to take types out without workers that let them in again meanwhile;
// call it before Run and Refresh. Undisturbed calls its function while nobody puts a
// bundle into the catalogue, with the names of the services and methods of those that
// the store may not have yet; or it answers false at once, to be asked again later.
func (t *Types) LetIn(undisturbed func(f func(unsaved map[string]bool)) bool) {
	t.undisturbed = undisturbed
}

// Run reads overrides and retirements again and again until ctx ends. While the store
// does not answer, those that were read last are in force.
func (t *Types) Run(ctx context.Context) {
	ticker := time.NewTicker(refreshPeriod)
	defer ticker.Stop()
	for {
		if err := t.Refresh(ctx); err != nil && ctx.Err() == nil {
			t.unread.Do(func() {
				t.log.WarnContext(ctx, "overrides of task types can't be read, those that are known stay in force", "error", err)
			})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Refresh reads the overrides now, and takes task types out of the catalogue that were
// retired. Errors: those of store.Store's Overrides and Retirements.
func (t *Types) Refresh(ctx context.Context) error {
	t.refreshing.Lock()
	defer t.refreshing.Unlock()
	stored, err := t.store.Overrides(ctx)
	if err != nil {
		return fmt.Errorf("read the overrides of task types: %w", err)
	}
	fresh := make(map[string]*Override, len(stored))
	for i := range stored {
		name := stored[i].TaskType
		if known := t.overrideOf(name); known != nil && known.Version == stored[i].Version {
			fresh[name] = known
		} else {
			fresh[name] = t.decode(&stored[i])
		}
	}
	t.overrides.Store(&fresh)
	return t.refreshRetired(ctx)
}

// decode keeps the version of one that can't be decoded, so that it can be
// replaced.
func (t *Types) decode(o *store.Override) *Override {
	out := &Override{Version: o.Version, Reason: o.Reason, Time: o.Time}
	options := new(taskv1.TaskOptions)
	if err := proto.Unmarshal(o.Options, options); err != nil {
		t.log.Error("a stored override can't be decoded, the method's own options are in force", "task_type", o.TaskType, "version", o.Version, "error", err)
		return out
	}
	if len(o.Paths) > 0 {
		out.Options, out.Paths = options, o.Paths
	}
	return out
}

// overrideOf gives the override of a task type, nil if there is none.
func (t *Types) overrideOf(name string) *Override {
	if known := t.overrides.Load(); known != nil {
		return (*known)[name]
	}
	return nil
}

// Loaded says whether the overrides of earlier days are known.
func (t *Types) Loaded() bool { return t.overrides.Load() != nil }
