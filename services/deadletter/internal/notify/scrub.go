package notify

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// hidden stands in the place of a secret.
const hidden = "[hidden]"

// leastSecret is the length of the shortest text of a URL that is hidden, in bytes.
const leastSecret = 4

// scrubber hides the parts of a URL that may be secret.
type scrubber struct{ secrets []string }

var (
	anyURL = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)
	word   = regexp.MustCompile(`[A-Za-z0-9]+`)
)

// scrubberOf hides everything of a URL but its scheme, in any way that a library may put
// it together: so all words of it, if they are not too short to say anything. Of a host
// that is the receiver's own address, with a port or a dot, the words stay.
func scrubberOf(u *url.URL) scrubber {
	parts := []string{u.User.Username(), u.Path, u.Fragment, u.Opaque}
	password, _ := u.User.Password()
	parts = append(parts, password)
	for key, values := range u.Query() {
		parts = append(append(parts, key), values...)
	}
	if u.Port() == "" && !strings.Contains(u.Host, ".") {
		parts = append(parts, u.Host)
	}
	for _, part := range slices.Clone(parts) {
		parts = append(parts, word.FindAllString(part, -1)...)
	}
	return scrubberOfTexts(parts...)
}

// scrubberOfTexts hides texts, as they are and as they are encoded often.
func scrubberOfTexts(parts ...string) scrubber {
	var s scrubber
	for _, part := range parts {
		for _, text := range []string{part, base64.StdEncoding.EncodeToString([]byte(part)), url.QueryEscape(part)} {
			if len(text) >= leastSecret {
				s.secrets = append(s.secrets, text)
			}
		}
	}
	// The longest first, so that none leaves a rest of another.
	slices.SortFunc(s.secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	s.secrets = slices.Compact(s.secrets)
	return s
}

// clean is an error's text in one line without what is hidden, cut.
func (s scrubber) clean(err error) string {
	text := anyURL.ReplaceAllString(err.Error(), hidden)
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return cutAt(oneLine(text), maxProblem)
}

// oneLine is a text without control characters, and with one space for each gap.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
