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

// learn takes a bundle in, to be stored if that changed anything; breaks says that it
// does not go with the versions before.
func (r *Registry) learn(bundle *catalogue.Bundle, start time.Time, breaks bool) error {
	changed, err := r.cfg.Catalogue.Put(bundle, start)
	if err != nil {
		return fmt.Errorf("take in a bundle: %w", err)
	}
	names, isNew := r.accept(bundle, start, breaks)
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
// earlier start of it, unless that is stored under more names: it broke with other
// versions, and those after it may have got their names back.
func (r *Registry) remember(b store.BundleRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved = slices.DeleteFunc(r.unsaved, func(u store.BundleRecord) bool { return u.Digest == b.Digest && len(u.Defines) <= len(b.Defines) })
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
	r.takeIn(records)
	r.declareKnown(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = true
}

// takeIn takes in what the store has, and says what of the things learned before does
// not go with it.
func (r *Registry) takeIn(records []store.BundleRecord) {
	r.taking.Lock()
	defer r.taking.Unlock()
	learned := r.learned(records)
	kept := stored(records)
	for _, b := range records {
		if r.recall(b); onlyRecalled(b) {
			continue
		}
		if err := r.restore(b, kept); err != nil {
			r.cfg.Logger.Error("a stored bundle is not usable, its services are unknown until a worker announces them", "services", b.Services, "error", err)
		}
	}
	for _, v := range learned {
		r.reportLate(v)
	}
}

// learned are the versions that workers have announced and the store does not have.
func (r *Registry) learned(records []store.BundleRecord) map[string]version {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]version{}
	for _, versions := range r.accepted {
		for _, v := range versions {
			if !slices.ContainsFunc(records, func(b store.BundleRecord) bool { return b.Digest == v.digest }) {
				out[v.digest] = v
			}
		}
	}
	return out
}

// reportLate logs what would have kept a version out, had the store been readable when
// it came. Its workers work by now.
func (r *Registry) reportLate(v version) {
	bundle, err := r.bundle(v.announced)
	if err != nil {
		r.cfg.Logger.Error("a version that was let in is not usable", "services", v.announced.Services, "error", err)
		return
	}
	found := r.findings(bundle, v.start, func(t string) bool { return !r.allowed(t) })
	for _, f := range found.Named {
		r.cfg.Logger.Error("a change that is not wire-compatible was let in, because the store could not be read then",
			"task_type", f.Type, "finding", f.String(), "findings", found.Total)
	}
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
