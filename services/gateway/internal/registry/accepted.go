package registry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxVersions is how many versions of each service may come again without being
// compared.
const maxVersions = 16

// version is a bundle that was let in. It is stored as a definition of its own, whose
// name is made of the service and the slot, so that the store keeps the bundle when
// it defines nothing else any more; a later version takes the slot of the oldest.
type version struct {
	digest string
	start  time.Time
	slot   int
}

// slotPrefix can't begin the name of a service or a method.
const slotPrefix = "version "

func slotName(service string, slot int) string {
	return fmt.Sprintf("%s%d %s", slotPrefix, slot, service)
}

// wasAccepted says whether each service of a bundle was let in as the bundle has it.
func (r *Registry) wasAccepted(bundle *catalogue.Bundle) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range bundle.Services() {
		if !slices.ContainsFunc(r.accepted[s], func(v version) bool { return v.digest == bundle.ID() }) {
			return false
		}
	}
	return true
}

// accept notes that a bundle was let in. It gives the names to store it under, and
// says whether it had not been noted before.
func (r *Registry) accept(bundle *catalogue.Bundle, start time.Time) (names []string, isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range bundle.Services() {
		slot, known := slotFor(r.accepted[s], bundle.ID())
		isNew = isNew || !known
		r.note(s, version{bundle.ID(), start, slot})
		names = append(names, slotName(s, slot))
	}
	return names, isNew
}

// slotFor is the slot that a digest has, else a free one, else that of the oldest.
func slotFor(versions []version, digest string) (slot int, known bool) {
	taken := map[int]bool{}
	for _, v := range versions {
		if v.digest == digest {
			return v.slot, true
		}
		taken[v.slot] = true
	}
	for slot := range maxVersions {
		if !taken[slot] {
			return slot, false
		}
	}
	return slices.MinFunc(versions, func(a, b version) int { return a.start.Compare(b.start) }).slot, false
}

// note has a version take its slot. Of two of the same digest the later start counts.
func (r *Registry) note(service string, v version) {
	kept := r.accepted[service][:0:0]
	for _, other := range r.accepted[service] {
		switch {
		case other.digest == v.digest:
			v.start = later(v.start, other.start)
		case other.slot != v.slot:
			kept = append(kept, other)
		}
	}
	r.accepted[service] = append(kept, v)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// recall notes what is stored of earlier days.
func (r *Registry) recall(b store.BundleRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range b.Defines {
		rest, ok := strings.CutPrefix(name, slotPrefix)
		number, service, _ := strings.Cut(rest, " ")
		slot, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		// Workers that have registered meanwhile may have it already.
		if taken := slices.ContainsFunc(r.accepted[service], func(v version) bool { return v.slot == slot }); taken {
			slot, _ = slotFor(r.accepted[service], b.Digest)
		}
		r.note(service, version{b.Digest, b.Time, slot})
	}
}

// onlyRecalled says that a stored bundle defines nothing any more.
func onlyRecalled(b store.BundleRecord) bool {
	return !slices.ContainsFunc(b.Defines, func(name string) bool { return !strings.HasPrefix(name, slotPrefix) })
}
