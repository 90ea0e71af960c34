package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// settleRetired is how long what was on its way into a queue may take, once nothing
	// more comes into it.
	settleRetired = time.Second
	// undoTimeout bounds what puts a queue back.
	undoTimeout = 10 * time.Second
)

// Retire forgets a task type of which nothing is left: from the start on, nobody here
// can submit to it, then its queue takes nothing; free is asked whether that holds
// then; its queue goes, and at last it leaves the store. Method, Forget, Input and
// Output of the retirement are filled in. Whatever fails, free's error included, is
// undone and returned; [broker.ErrInUse] says that the queue has messages or consumers.
// Nobody registers meanwhile. False says that there is no such type.
//
// Gateways besides this one follow when they read what is retired.
func (r *Registry) Retire(ctx context.Context, retirement store.Retirement, free func(context.Context) error) (bool, error) {
	r.taking.Lock()
	defer r.taking.Unlock()
	t, ok := r.cfg.Catalogue.Type(retirement.TaskType)
	if !ok {
		return false, nil
	}
	// What is not stored yet would bring it back.
	r.save(ctx)
	if b, ok := r.nextUnsaved(); ok {
		return true, fmt.Errorf("%w: %v are not stored yet", store.ErrUnavailable, b.Services)
	}
	r.setRetiring(t.Name)
	defer r.setRetiring("")
	undo, _ := r.cfg.Catalogue.Retire(t.Name)
	retirement.Method, retirement.Input, retirement.Output = t.GRPCMethod, string(t.Input.FullName()), string(t.Output.FullName())
	retirement.Forget = r.namesOf(t)
	if err := r.retire(ctx, t, retirement, free); err != nil {
		undo()
		r.setRetiring("")
		r.reopen(ctx, t)
		return true, err
	}
	r.forget(t)
	return true, nil
}

func (r *Registry) retire(ctx context.Context, t catalogue.TaskType, retirement store.Retirement, free func(context.Context) error) error {
	if err := r.cfg.Topology.Do(ctx, func(topology *broker.Topology) error { return r.closeWork(topology, t.Name) }); err != nil {
		return fmt.Errorf("close the queue: %w", err)
	}
	timer := time.NewTimer(settleRetired)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := free(ctx); err != nil {
		return err
	}
	if err := r.cfg.Topology.Do(ctx, func(topology *broker.Topology) error { return topology.DeleteWork(t.Name) }); err != nil {
		return fmt.Errorf("delete the queue: %w", err)
	}
	if err := r.cfg.Store.RetireType(ctx, retirement); err != nil && !r.isStored(ctx, retirement) {
		return fmt.Errorf("forget the task type: %w", err)
	}
	return nil
}

// isStored says whether a retirement is in the store, although its answer was an error:
// what was committed can't be undone. The store is asked until it answers, for a while.
func (r *Registry) isStored(ctx context.Context, retirement store.Retirement) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	ticker := time.NewTicker(savePeriod)
	defer ticker.Stop()
	for {
		kept, err := r.cfg.Store.Retirements(ctx)
		if err == nil {
			return slices.ContainsFunc(kept, func(k store.Retirement) bool {
				return k.TaskType == retirement.TaskType && k.Time.Equal(retirement.Time.Truncate(time.Microsecond))
			})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			r.cfg.Logger.WarnContext(ctx, "whether a task type was retired is not known, it stays until the store answers", "task_type", retirement.TaskType, "error", err)
			return false
		}
	}
}

// reopen has the queue of a type that stays take tasks again. If it can't now, the next
// submission does it.
func (r *Registry) reopen(ctx context.Context, t catalogue.TaskType) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if _, err := r.declareTypes(ctx, []catalogue.TaskType{t}); err != nil {
		r.cfg.Logger.WarnContext(ctx, "the queue of a task type that was not retired after all is not declared yet", "task_type", t.Name, "error", err)
	}
}

// namesOf are those by which a type that is in the catalogue no more is stored; with
// the last one of its service that goes too, and so do the versions of it.
func (r *Registry) namesOf(t catalogue.TaskType) []string {
	names := []string{t.GRPCMethod}
	if slices.Contains(r.cfg.Catalogue.Services(), t.Service) {
		return names
	}
	names = append(names, t.Service)
	for slot := range maxVersions {
		names = append(names, slotName(t.Service, slot))
	}
	return names
}

// forget forgets what this gateway knows of a type besides the catalogue.
func (r *Registry) forget(t catalogue.TaskType) {
	gone := !slices.Contains(r.cfg.Catalogue.Services(), t.Service)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conflicts, t.Name)
	if gone {
		delete(r.accepted, t.Service)
	}
}

// stored are the names that bundles are kept for: what was retired is not among them.
func stored(records []store.BundleRecord) map[string]bool {
	names := map[string]bool{}
	for _, b := range records {
		for _, name := range b.Defines {
			names[name] = true
		}
	}
	return names
}
