package fingerprint

import "strings"

// urlEnds are the characters at which a URL ends in a text.
const urlEnds = " \t\r\n\v\f\"'`<>(){}[]|\\^,;"

// url takes scheme and authority of a URL, if a word is its scheme.
func (s *scanner) url(r run) bool {
	const sign = "://"
	if !strings.HasPrefix(s.text[r.end:], sign) || s.text[s.at] >= 0x80 {
		return false
	}
	begin := r.end + len(sign)
	end := urlPart(s.text, begin, "/?#")
	cut := placeholderSize(s.text, end) > 0
	for end > begin && (s.text[end-1] == '.' || s.text[end-1] == ':') {
		end--
	}
	if end == begin || cut || !authority(s.text[begin:end]) {
		return false
	}
	s.plain(r)
	s.keep(begin)
	s.replace(end, Address)
	s.inURL = true
	return true
}

// authority says whether there is a letter or digit in a text.
func authority(text string) bool {
	for i := range len(text) {
		if isAlnum(text[i]) || text[i] >= 0x80 {
			return true
		}
	}
	return false
}

// urlPart is the end of the part of a URL at a place, at the latest before one of the
// delimiters. Brackets of an IPv6 address belong to it.
func urlPart(text string, at int, delimiters string) int {
	if at < len(text) && text[at] == '[' {
		if end := strings.IndexByte(text[at:min(len(text), at+maxIPv6+20)], ']'); end > 0 {
			at += end + 1
		}
	}
	for at < len(text) && spaceSize(text, at) == 0 && strings.IndexByte(urlEnds, text[at]) < 0 && strings.IndexByte(delimiters, text[at]) < 0 {
		at++
	}
	return at
}

// query takes a URL's query and fragment, or the sign that would begin them.
func (s *scanner) query() {
	inURL := s.inURL
	s.keep(s.at + 1)
	if !inURL {
		return
	}
	end := urlPart(s.text, s.at, "")
	for end > s.at && strings.IndexByte(".:!?", s.text[end-1]) >= 0 {
		end--
	}
	if s.inURL = false; end > s.at {
		s.replace(end, Text)
	}
}
