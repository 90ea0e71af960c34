package filter

import "strings"

// MatchKind is how a text is matched.
type MatchKind int

// The kinds of matches.
const (
	// MatchEqual: the text is the value, letter for letter.
	MatchEqual MatchKind = iota + 1
	// MatchPattern: the text is the segments in their order with any text, also
	// none, between each two of them.
	MatchPattern
	// MatchContains: the value is a part of the text; A to Z equal a to z.
	MatchContains
	// MatchPresent: the text is not empty; of a label: it is there.
	MatchPresent
)

// Match is what a text has to be.
type Match struct {
	Kind MatchKind
	// Value is that of MatchEqual and MatchContains; in the latter, without the
	// letters A to Z.
	Value string
	// Segments are those of MatchPattern, two or more. The text begins with the
	// first and ends with the last, which may be empty.
	Segments []string
}

// Holds says whether a text matches. Of MatchPresent it says whether the text
// is not empty.
func (m Match) Holds(text string) bool {
	switch m.Kind {
	case MatchEqual:
		return text == m.Value
	case MatchPattern:
		return m.holdsPattern(text)
	case MatchContains:
		return strings.Contains(lowerASCII(text), m.Value)
	case MatchPresent:
		return text != ""
	}
	return false
}

// holdsPattern takes each segment where it is found first, which leaves the
// most to those after it.
func (m Match) holdsPattern(text string) bool {
	first, last := m.Segments[0], m.Segments[len(m.Segments)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, segment := range m.Segments[1 : len(m.Segments)-1] {
		_, after, found := strings.Cut(text, segment)
		if !found {
			return false
		}
		text = after
	}
	return true
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
