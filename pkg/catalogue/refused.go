package catalogue

// Refused returns why a method of a registered service is no task type, by the bundle
// that defines the service; false if it is one, or is not known at all. The name may
// be written in any of the ways that [TypeName] understands.
func (c *Catalogue) Refused(name string) (Refusal, bool) {
	name = TypeName(name)
	s := c.current.Load()
	if _, known := s.byName[name]; known {
		return Refusal{}, false
	}
	for _, b := range s.bundles {
		for _, r := range b.refusals {
			if !r.Service && r.Name == name {
				return r, true
			}
		}
	}
	return Refusal{}, false
}
