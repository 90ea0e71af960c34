package fingerprint

// quote takes what is quoted, or a quote that stands alone.
func (s *scanner) quote(q byte) {
	s.inURL = false
	if q == '\'' && s.joined() {
		s.keep(s.at + 1)
		return
	}
	if end := s.closing(q); end > 0 {
		s.replace(end, Text)
		return
	}
	s.keep(s.at + 1)
}

// closing is the end of what the quote that comes opens; 0 if nothing closes it.
func (s *scanner) closing(q byte) int {
	unclosed := &s.unclosed[quoteKind(q)]
	if *unclosed {
		return 0
	}
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\':
			i++
		case c == q && (q != '\'' || ends(s.text, i+1)):
			return i + 1
		}
	}
	*unclosed = true
	return 0
}

func quoteKind(q byte) int {
	switch q {
	case '"':
		return 0
	case '\'':
		return 1
	}
	return 2
}
