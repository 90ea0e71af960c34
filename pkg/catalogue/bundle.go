package catalogue

import (
	"slices"
)

// Bundle is a checked announcement with its types built. [Build] makes it; it
// does not change and is safe for concurrent use.
type Bundle struct {
	id        string
	announced []string
	services  []string
	files     [][]byte
	taskTypes []TaskType
	refusals  []Refusal
	types     *bundleTypes
}

// Refusal names what of an announcement is not accepted, and why.
type Refusal struct {
	// Full name of the service, or, as for a task type, of the method.
	Name string
	// For people: why, and what to do.
	Message string
	// The whole service is refused, not one of its methods.
	Service bool
}

// ID returns [Announcement.ID] of what the bundle was built from.
func (b *Bundle) ID() string { return b.id }

// Services returns the full names of the accepted services, sorted. A service
// whose methods were all refused is among them.
func (b *Bundle) Services() []string { return slices.Clone(b.services) }

// Files returns the encoded files as they were announced, byte for byte, imports
// first. The bytes must not be modified.
func (b *Bundle) Files() [][]byte { return slices.Clone(b.files) }

// Announcement returns what to keep in order to build an equal bundle, with the
// same ID and the same refusals, later. The bytes must not be modified.
func (b *Bundle) Announcement() Announcement {
	return Announcement{Services: slices.Clone(b.announced), Files: b.Files()}
}

// TaskTypes returns the task types, sorted by name.
func (b *Bundle) TaskTypes() []TaskType { return slices.Clone(b.taskTypes) }

// Refusals returns what was refused, by service and then in the order of its
// methods.
func (b *Bundle) Refusals() []Refusal { return slices.Clone(b.refusals) }

// Resolver finds the types that the bundle defines and then, for a name that it
// does not define, those linked into the process.
func (b *Bundle) Resolver() *Resolver {
	return &Resolver{finders: func() []finder { return []finder{b.types} }}
}
