package registry

import (
	"cmp"
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
	// To compare others with.
	announced catalogue.Announcement
}

// otherVersion is one that was let in for some of a bundle's services.
type otherVersion struct {
	version
	services map[string]bool
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

// otherVersions are those that were let in of a bundle's services, the bundle itself
// aside, the latest first.
func (r *Registry) otherVersions(bundle *catalogue.Bundle) []otherVersion {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []otherVersion
	for _, s := range bundle.Services() {
		for _, v := range r.accepted[s] {
			if v.digest == bundle.ID() {
				continue
			}
			i := slices.IndexFunc(out, func(o otherVersion) bool { return o.digest == v.digest })
			if i < 0 {
				i, out = len(out), append(out, otherVersion{v, map[string]bool{}})
			}
			out[i].services[s] = true
			out[i].start = later(out[i].start, v.start)
		}
	}
	slices.SortFunc(out, func(a, b otherVersion) int { return cmp.Or(b.start.Compare(a.start), cmp.Compare(a.digest, b.digest)) })
	return out
}

// accept notes that a bundle was let in. It gives the names to store it under, and
// says whether it had not been noted before.
//
// One that breaks with the others takes all slots of its services: the others are
// compared if they come again. If one of them was started later, that one stays and the
// bundle is not noted: each worker of it needs to be allowed.
func (r *Registry) accept(bundle *catalogue.Bundle, start time.Time, breaks bool) (names []string, isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range bundle.Services() {
		if breaks && slices.ContainsFunc(r.accepted[s], func(v version) bool { return v.start.After(start) }) {
			continue
		}
		if breaks {
			delete(r.accepted, s)
		}
		slot, known := slotFor(r.accepted[s], bundle.ID())
		isNew = isNew || !known
		r.note(s, version{bundle.ID(), start, slot, bundle.Announcement()})
		names = append(names, slotName(s, slot))
		for other := 0; breaks && other < maxVersions; other++ {
			if other != slot {
				names = append(names, slotName(s, other))
			}
		}
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
		r.note(service, version{b.Digest, b.Time, slot, catalogue.Announcement{Services: b.Services, Files: b.Files}})
	}
}

// onlyRecalled says that a stored bundle defines nothing any more.
func onlyRecalled(b store.BundleRecord) bool {
	return !slices.ContainsFunc(b.Defines, func(name string) bool { return !strings.HasPrefix(name, slotPrefix) })
}
