package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// modelKey is what owners of a key know of each other.
type modelKey struct {
	digest byte
	taskID string
	// owner may submit until the second until; nobody once it is empty.
	owner string
	until int
	// maybe says that an owner before may have submitted it, done that one has.
	maybe, done bool
	// end is the second from which on it is nobody's.
	end int
}

// keyWorld is a few owners of a few keys, at stores that share what they keep.
type keyWorld struct {
	stores []store.Store
	now    int
	// names are the keys' in this world.
	names  []string
	claims map[string]map[string]store.KeyClaim // by key and owner: the last one
	keys   map[string]*modelKey
}

// anyClaims has owners claim, renew, settle, and lose keys while time goes by. The
// model is what the contract says about one key at a time.
func anyClaims(t *testing.T, stores ...store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		w := &keyWorld{
			stores: stores, names: []string{task.NewID(), task.NewID()},
			claims: map[string]map[string]store.KeyClaim{}, keys: map[string]*modelKey{},
		}
		for _, name := range w.names {
			w.claims[name] = map[string]store.KeyClaim{}
		}
		t.Repeat(map[string]func(*rapid.T){
			"claim": w.claim, "renew": w.renew, "settle": w.settle, "purge": w.purge,
			"wait": func(t *rapid.T) { w.now += rapid.SampledFrom([]int{1, leaseSeconds, windowSeconds}).Draw(t, "seconds") },
		})
	})
}

func (w *keyWorld) any(t *rapid.T) (store.Store, string, string) {
	return w.stores[rapid.IntRange(0, len(w.stores)-1).Draw(t, "store")], rapid.SampledFrom(w.names).Draw(t, "key"),
		rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "owner")
}

func (w *keyWorld) claim(t *rapid.T) {
	s, name, owner := w.any(t)
	c := claimOf(name, owner, w.now)
	c.Digest[0] = rapid.SampledFrom([]byte{1, 1, 1, 2}).Draw(t, "digest")
	got := claimKeys(t, s, w.now, c)[0]
	require.Equal(t, w.expect(c), got)
	w.claims[name][owner] = c
}

// expect does what a claim does to the model, and gives its answer.
func (w *keyWorld) expect(c store.KeyClaim) store.KeyAnswer {
	k := w.keys[c.Key]
	held := k != nil && !k.done && k.owner != "" && k.until > w.now
	if k == nil || k.end <= w.now && !held {
		w.keys[c.Key] = &modelKey{
			digest: c.Digest[0], taskID: c.TaskID, owner: c.Owner, until: w.now + leaseSeconds, end: w.now + windowSeconds,
		}
		return mine(c)
	}
	answer := store.KeyAnswer{TaskID: k.taskID}
	switch {
	case k.digest != c.Digest[0]:
		answer.Outcome = store.KeyConflict
	case k.done:
		answer.Outcome = store.KeyDone
	case held && k.owner != c.Owner:
		answer.Outcome, answer.Until = store.KeyBusy, at(k.until)
	default:
		k.maybe = k.maybe || !held
		k.owner, k.until = c.Owner, max(w.now+leaseSeconds, k.until)
		answer.Outcome, answer.Again, answer.Until = store.KeyMine, k.maybe, at(k.until)
	}
	return answer
}

func (w *keyWorld) renew(t *rapid.T) {
	s, name, owner := w.any(t)
	until := w.now + rapid.IntRange(1, 2*leaseSeconds).Draw(t, "until")
	k := w.keys[name]
	holds := k != nil && !k.done && k.owner == owner
	if holds {
		k.until = max(k.until, until)
	}
	require.Equal(t, holds, renewKey(t, s, store.KeyClaim{Type: taskType, Key: name, Owner: owner}, until))
}

func (w *keyWorld) settle(t *rapid.T) {
	s, name, owner := w.any(t)
	submitted := rapid.Bool().Draw(t, "submitted")
	settleKey(t, s, store.KeyClaim{Type: taskType, Key: name, Owner: owner}, submitted)
	k := w.keys[name]
	if k == nil || k.done || k.owner != owner {
		return
	}
	switch {
	case submitted:
		k.done = true
	case k.maybe:
		k.owner, k.until = "", 0
	default:
		delete(w.keys, name)
	}
}

func (w *keyWorld) purge(t *rapid.T) {
	s, _, _ := w.any(t)
	for purgeKeys(t, s, w.now, store.MaxPurge) == store.MaxPurge {
		continue // with those of other worlds
	}
	for name, k := range w.keys {
		if k.end <= w.now && (k.done || k.until <= w.now) {
			delete(w.keys, name)
		}
	}
}
