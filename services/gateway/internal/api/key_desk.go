package api

import (
	"context"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/wake"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxKeys bounds the keys of several calls in one transaction.
const maxKeys = 1000

// keyDesk is where all calls of a process claim keys and give them back.
type keyDesk struct {
	claims group[store.KeyClaim, store.KeyAnswer]
	ends   group[keyEnd, struct{}]
	waits  keyWaits
}

// keyEnd is the end of a claim.
type keyEnd struct {
	ref       store.KeyRef
	submitted bool
}

func newKeyDesk(cfg *Config) *keyDesk {
	d := &keyDesk{}
	d.claims.most, d.ends.most = maxKeys, maxKeys
	d.claims.within, d.ends.within = maxClaim, maxSettle
	d.claims.do = func(ctx context.Context, claims []store.KeyClaim) ([]store.KeyAnswer, error) {
		return cfg.Store.ClaimKeys(ctx, time.Now(), claims)
	}
	d.ends.do = func(ctx context.Context, ends []keyEnd) ([]struct{}, error) {
		for _, submitted := range []bool{true, false} {
			if refs := refsOf(ends, submitted); len(refs) > 0 {
				if err := cfg.Store.SettleKeys(ctx, refs, submitted); err != nil {
					return nil, err
				}
			}
		}
		return make([]struct{}, len(ends)), nil
	}
	return d
}

func refsOf(ends []keyEnd, submitted bool) []store.KeyRef {
	var refs []store.KeyRef
	for _, e := range ends {
		if e.submitted == submitted {
			refs = append(refs, e.ref)
		}
	}
	return refs
}

// keyWaits wakes those who wait for others of this process to be done with keys. The
// zero value is ready.
type keyWaits struct {
	mu sync.Mutex
	of map[keyName]map[chan<- struct{}]struct{}
}

// join returns a channel that has a value once a claim on one of the submissions' keys
// has ended, after this. Call leave at the end; again it does nothing.
func (w *keyWaits) join(subs []*submission) (ended <-chan struct{}, leave func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[keyName]map[chan<- struct{}]struct{}{}
	}
	for _, sub := range subs {
		name := sub.key.keyName
		if w.of[name] == nil {
			w.of[name] = map[chan<- struct{}]struct{}{}
		}
		w.of[name][c] = struct{}{}
	}
	return c, func() { w.leave(subs, c) }
}

func (w *keyWaits) leave(subs []*submission, c chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sub := range subs {
		name := sub.key.keyName
		if delete(w.of[name], c); len(w.of[name]) == 0 {
			delete(w.of, name)
		}
	}
}

// wake is for after a claim on the submissions' keys has ended.
func (w *keyWaits) wake(subs []*submission) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sub := range subs {
		for c := range w.of[sub.key.keyName] {
			wake.Signal(c)
		}
	}
}
