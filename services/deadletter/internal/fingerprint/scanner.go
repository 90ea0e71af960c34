package fingerprint

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Placeholder is what stands for a part of a message.
type Placeholder string

// The placeholders.
const (
	UUID    Placeholder = "<uuid>"
	Time    Placeholder = "<time>"
	Address Placeholder = "<addr>"
	Hex     Placeholder = "<hex>"
	Number  Placeholder = "<num>"
	ID      Placeholder = "<id>"
	Text    Placeholder = "<text>"
)

var placeholders = [...]Placeholder{UUID, Time, Address, Hex, Number, ID, Text}

// Replacement is a part of a message that a placeholder stands for.
type Replacement struct {
	// Text begins at Offset, in bytes.
	Text        string
	Offset      int
	Placeholder Placeholder
}

// last is what the output ends with.
type last int

const (
	nothing last = iota
	space
	word
	placeholder
	other
)

// scanner normalizes a message in one pass.
//
// What it does at a place depends on the output so far and on the input that follows,
// where a placeholder counts as the word that it stood for. Therefore what it leaves as it
// is stays when the output is normalized again: nothing that was joined falls apart into
// something that would be replaced.
type scanner struct {
	text    string
	at      int
	out     []byte
	last    last
	explain bool

	replaced []Replacement
	// inURL: a URL's path is being read.
	inURL bool
	// digits: what is read goes on a word that began with digits.
	digits bool
	// unclosed are the quotes that no partner follows any more.
	unclosed [3]bool
	// hasAt: there is an @ in the text.
	hasAt bool
}

func (s *scanner) normalize() string {
	if s.text == "" {
		return ""
	}
	s.out = make([]byte, 0, len(s.text)+16)
	s.hasAt = strings.IndexByte(s.text, '@') >= 0
	for s.at < len(s.text) {
		s.next()
	}
	return strings.TrimSuffix(string(s.out), " ")
}

// next takes in what comes next.
func (s *scanner) next() {
	c := s.text[s.at]
	if wordSize(s.text, s.at) > 0 {
		s.word()
		return
	}
	s.digits = false
	if n := spaceSize(s.text, s.at); n > 0 {
		s.at += n
		s.inURL = false
		if s.last != nothing && s.last != space {
			s.out, s.last = append(s.out, ' '), space
		}
		return
	}
	switch c {
	case '<':
		s.bracket()
	case '\\':
		s.escape()
	case '"', '\'', '`':
		s.quote(c)
	case '-':
		s.sign()
	case '[', ':':
		s.colons()
	case '?', '#':
		s.query()
	case ')', ']', '}', '>':
		s.inURL = false
		s.keep(s.at + 1)
	default:
		_, n := utf8.DecodeRuneInString(s.text[s.at:])
		s.keep(s.at + n)
	}
}

// keep takes what comes, up to end, as it is.
func (s *scanner) keep(end int) {
	s.out = append(s.out, s.text[s.at:end]...)
	s.at, s.last = end, other
}

func (s *scanner) keepWord(end int) {
	s.keep(end)
	s.last = word
}

// replace takes what comes, up to end, as what p stands for.
func (s *scanner) replace(end int, p Placeholder) {
	if s.explain {
		s.replaced = append(s.replaced, Replacement{Text: s.text[s.at:end], Offset: s.at, Placeholder: p})
	}
	s.out = append(s.out, p...)
	s.at, s.last = end, placeholder
}

// joined says whether what comes goes on a word, or what a placeholder stands for.
func (s *scanner) joined() bool { return s.last == word || s.last == placeholder }

// before is the last byte of the output; 0 at its beginning.
func (s *scanner) before() byte {
	if len(s.out) == 0 {
		return 0
	}
	return s.out[len(s.out)-1]
}

// bracket takes a placeholder that is in the message already, or <.
func (s *scanner) bracket() {
	s.inURL = false
	if n := placeholderSize(s.text, s.at); n > 0 {
		s.keep(s.at + n)
		s.last = placeholder
		return
	}
	s.keep(s.at + 1)
}

// escape takes a backslash, with the quote or backslash that it escapes.
func (s *scanner) escape() {
	end := s.at + 1
	if end < len(s.text) && strings.IndexByte("\\\"'`", s.text[end]) >= 0 {
		end++
	}
	s.keep(end)
}

// ends says whether no word goes on at a place.
func ends(text string, at int) bool {
	return at >= len(text) || wordSize(text, at) == 0 && placeholderSize(text, at) == 0
}

func placeholderSize(text string, at int) int {
	if at >= len(text) || text[at] != '<' {
		return 0
	}
	for _, p := range placeholders {
		if strings.HasPrefix(text[at:], string(p)) {
			return len(p)
		}
	}
	return 0
}

// wordSize is the size of the letter or digit at a place; 0 if there is none.
func wordSize(text string, at int) int {
	c := text[at]
	if c < utf8.RuneSelf {
		if isAlnum(c) {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(text[at:])
	if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) {
		return n
	}
	return 0
}

func spaceSize(text string, at int) int {
	c := text[at]
	if c < utf8.RuneSelf {
		if c == ' ' || '\t' <= c && c <= '\r' {
			return 1
		}
		return 0
	}
	if r, n := utf8.DecodeRuneInString(text[at:]); unicode.IsSpace(r) {
		return n
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

func isAlnum(c byte) bool { return isLower(c) || isDigit(c) || isUpper(c) }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

// while is the end of the bytes from a place on that are of a kind.
func while(text string, at int, is func(byte) bool) int {
	for at < len(text) && is(text[at]) {
		at++
	}
	return at
}
