package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Redeclare declares the queue of a known task type, which somebody has deleted, on the
// open connection. Errors: [store.ErrRetired] if there is no such type, or none any
// more; what the broker answers.
func (r *Registry) Redeclare(ctx context.Context, taskType string) error {
	return r.cfg.Topology.Do(ctx, func(t *broker.Topology) error {
		r.declaring.RLock()
		defer r.declaring.RUnlock()
		if _, ok := r.cfg.Catalogue.Type(taskType); ok {
			return t.DeclareWork(taskType)
		}
		if !r.Loaded() {
			return errNotLoaded
		}
		return fmt.Errorf("declare the queue of %s: %w", taskType, store.ErrRetired)
	})
}

// declareUnlessRetiring leaves the queue of a type as it is that is being retired.
func (r *Registry) declareUnlessRetiring(t *broker.Topology, taskType string) error {
	r.declaring.RLock()
	defer r.declaring.RUnlock()
	if r.isRetiring(taskType) {
		return nil
	}
	return t.DeclareWork(taskType)
}

// closeWork closes the queue of a type that is in the catalogue no more: who had asked
// before whether it is has declared it by now, so that nobody binds it afterwards.
func (r *Registry) closeWork(t *broker.Topology, taskType string) error {
	r.declaring.Lock()
	defer r.declaring.Unlock()
	if !r.isRetiring(taskType) {
		return errors.New("it is not being retired any more")
	}
	return t.CloseWork(taskType)
}

func (r *Registry) setRetiring(taskType string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.retiring = taskType; taskType != "" {
		r.retirements++
	}
}

// noRetirement gives a function that says whether no type was being retired all the time
// until it is called: else the queue of one that was to be declared may not be there.
func (r *Registry) noRetirement() func() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	quiet, before := r.retiring == "", r.retirements
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return quiet && r.retirements == before
	}
}

func (r *Registry) isRetiring(taskType string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.retiring == taskType
}

// Undisturbed calls f and answers true, or answers false if a bundle is being taken in
// or a type retired right now: neither is while f runs. Unsaved has the names of all
// services and methods that the store may not know yet.
func (r *Registry) Undisturbed(f func(unsaved map[string]bool)) bool {
	if !r.taking.TryLock() {
		return false
	}
	defer r.taking.Unlock()
	f(r.unsavedNames())
	return true
}

func (r *Registry) unsavedNames() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]bool{}
	for _, b := range r.unsaved {
		for _, name := range b.Defines {
			names[name] = true
		}
	}
	return names
}
