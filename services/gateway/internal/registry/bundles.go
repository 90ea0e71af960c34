package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// bundle reuses the one that is known already: building one takes milliseconds,
// and all workers of a kind announce the same.
func (r *Registry) bundle(a catalogue.Announcement) (*catalogue.Bundle, error) {
	if known, ok := r.cfg.Catalogue.Bundle(a.ID()); ok {
		return known, nil
	}
	return catalogue.Build(a, catalogue.Limits{})
}

// startOf is the start by which a worker's bundle counts, as precise as the
// store keeps it. A worker whose clock is ahead must not win for long.
func startOf(w *brokerv1.WorkerIdentity, now time.Time) time.Time {
	start := now
	if w.StartTime.IsValid() && w.StartTime.AsTime().Before(now) {
		start = w.StartTime.AsTime()
	}
	return start.UTC().Truncate(time.Microsecond)
}

// learn takes a bundle in, to be stored if that changed anything.
func (r *Registry) learn(bundle *catalogue.Bundle, start time.Time) error {
	changed, err := r.cfg.Catalogue.Put(bundle, start)
	if err != nil {
		return fmt.Errorf("take in a bundle: %w", err)
	}
	names, isNew := r.accept(bundle, start)
	if changed || isNew {
		b := record(bundle, start)
		b.Defines = append(b.Defines, names...)
		r.remember(b)
	}
	return nil
}

func record(bundle *catalogue.Bundle, start time.Time) store.BundleRecord {
	announced := bundle.Announcement()
	b := store.BundleRecord{
		Digest: bundle.ID(), Services: announced.Services, Defines: bundle.Services(), Files: announced.Files, Time: start,
	}
	for _, t := range bundle.TaskTypes() {
		// Not the type's name, which a service might have as well.
		b.Defines = append(b.Defines, t.GRPCMethod)
	}
	return b
}

// remember puts a bundle last among those to be stored, in the place of an
// earlier start of it.
func (r *Registry) remember(b store.BundleRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved = slices.DeleteFunc(r.unsaved, func(u store.BundleRecord) bool { return u.Digest == b.Digest })
	r.unsaved = append(r.unsaved, b)
}

// save stores what is not stored yet, in order, later if the store does not work
// now: registering goes on without it.
func (r *Registry) save(ctx context.Context) {
	for {
		b, ok := r.nextUnsaved()
		if !ok {
			return
		}
		err := r.cfg.Store.PutBundle(ctx, b)
		if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return
		}
		if err != nil {
			r.cfg.Logger.Error("a bundle can't be stored; its services will be unknown after a restart", "services", b.Services, "error", err)
		}
		r.forgetUnsaved(b)
	}
}

func (r *Registry) nextUnsaved() (store.BundleRecord, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unsaved) == 0 {
		return store.BundleRecord{}, false
	}
	return r.unsaved[0], true
}

// forgetUnsaved leaves the record of a later start of the same bundle.
func (r *Registry) forgetUnsaved(b store.BundleRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved = slices.DeleteFunc(r.unsaved, func(u store.BundleRecord) bool {
		return u.Digest == b.Digest && u.Time.Equal(b.Time)
	})
}

// load takes in what the store has. That workers may have announced something
// meanwhile does not matter: the order of bundles is by their times.
func (r *Registry) load(ctx context.Context) {
	if r.Loaded() {
		return
	}
	records, err := r.cfg.Store.Bundles(ctx)
	defer r.setLoading(false)
	if err != nil {
		r.cfg.Logger.Warn("the catalogue can't be loaded yet, trying again", "error", err)
		return
	}
	kept := stored(records)
	for _, b := range records {
		if r.recall(b); onlyRecalled(b) {
			continue
		}
		if err := r.restore(b, kept); err != nil {
			r.cfg.Logger.Error("a stored bundle is not usable, its services are unknown until a worker announces them", "services", b.Services, "error", err)
		}
	}
	r.declareKnown(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = true
}

// restore leaves out task types that are kept by no bundle: they were retired.
func (r *Registry) restore(b store.BundleRecord, kept map[string]bool) error {
	bundle, err := r.bundle(catalogue.Announcement{Services: b.Services, Files: b.Files})
	if err != nil {
		return err
	}
	_, err = r.cfg.Catalogue.Put(bundle.Limited(kept), b.Time)
	return err
}
