package fingerprint

import "strings"

// run is a word: letters and digits that no other character parts.
type run struct {
	end    int
	digits bool
	hex    bool
	letter bool // it begins with a letter
	turns  int  // how often letters follow digits, or digits letters
}

func (s *scanner) run() run {
	r := run{hex: true, letter: !isDigit(s.text[s.at])}
	was := !r.letter
	i := s.at
	for i < len(s.text) {
		n := wordSize(s.text, i)
		if n == 0 {
			break
		}
		is := isDigit(s.text[i])
		if is != was {
			r.turns++
		}
		r.digits = r.digits || is
		r.hex = r.hex && isHex(s.text[i])
		was = is
		i += n
	}
	r.end = i
	return r
}

// word takes a word, or more that begins with it.
func (s *scanner) word() {
	r := s.run()
	if s.joined() {
		s.plain(r)
		return
	}
	s.digits = false
	if r.letter && s.url(r) {
		return
	}
	if end, p := s.match(r); end > 0 {
		s.replace(end, p)
		return
	}
	s.plain(r)
}

// match is the end of what begins with a word and is more; 0 if it is no more.
func (s *scanner) match(r run) (end int, p Placeholder) {
	text, at := s.text, s.at
	if r.hex {
		if end := matchUUID(text, at); end > 0 {
			return end, UUID
		}
		if end := matchPairs(text, at, s.before()); end > 0 {
			return end, Hex
		}
		if end := matchIPv6(text, at, s.before()); end > 0 {
			return end, Address
		}
	}
	if s.hasAt {
		if end := matchMail(text, at, s.before()); end > 0 {
			return end, Address
		}
	}
	if r.letter {
		if end := matchNamedDate(text, at); end > 0 {
			return end, Time
		}
		if end := matchHost(text, at, s.before()); end > 0 {
			return end, Address
		}
		if end := matchISODuration(text, at); end > 0 {
			return end, Number
		}
		return 0, ""
	}
	return s.matchDigits(r, at)
}

// matchDigits is match for a word that begins with a digit.
func (s *scanner) matchDigits(r run, at int) (end int, p Placeholder) {
	if end := matchTime(s.text, at); end > 0 {
		return end, Time
	}
	if end := matchIPv4(s.text, at); end > 0 {
		return end, Address
	}
	if end := matchHost(s.text, at, s.before()); end > 0 {
		return end, Address
	}
	if isHexWord(s.text[at:r.end], r, s.before()) {
		return r.end, Hex
	}
	if end := matchNumber(s.text, at); end > 0 {
		return end, Number
	}
	return 0, ""
}

// isHexWord says whether a word is a number in hexadecimal.
func isHexWord(w string, r run, before byte) bool {
	if len(w) > 2 && w[0] == '0' && w[1]|0x20 == 'x' {
		return while(w, 2, isHex) == len(w)
	}
	switch {
	case !r.hex || !r.digits:
		return false
	case before == '@':
		return len(w) >= 4
	}
	return len(w) >= 8 && (r.turns > 0 || r.letter)
}

// minTurns is from how many turns of letters and digits on a word is an id.
const minTurns = 3

// minDigits is from how many digits on those within a word are a number.
const minDigits = 4

// plain takes a word that is no more than that.
func (s *scanner) plain(r run) {
	w := s.text[s.at:r.end]
	switch {
	case !r.digits:
		s.keepWord(r.end)
	case isHexWord(w, r, s.before()):
		s.replace(r.end, Hex)
	case r.turns >= minTurns:
		s.replace(r.end, ID)
	default:
		s.groups(r)
	}
}

// groups takes a word with its groups of digits as numbers.
func (s *scanner) groups(r run) {
	least := minDigits
	if !r.letter || s.digits {
		least = 1
	}
	for s.at < r.end {
		digits := while(s.text[:r.end], s.at, isDigit)
		if digits-s.at >= least {
			s.replace(digits, Number)
			continue
		}
		next := digits
		for next < r.end && !isDigit(s.text[next]) {
			next++
		}
		s.keepWord(next)
	}
	s.digits = false
}

// sign takes a number with the minus before it, or the minus.
func (s *scanner) sign() {
	end := 0
	if strings.IndexByte(" (=[,:{", s.before()) >= 0 || s.last == nothing {
		end = s.signed()
	}
	if end > 0 {
		s.replace(end, Number)
		return
	}
	s.keep(s.at + 1)
}

// signed is the end of the number that the minus precedes; 0 if it precedes none.
func (s *scanner) signed() int {
	at := s.at + 1
	if at >= len(s.text) || !isDigit(s.text[at]) {
		return 0
	}
	next := scanner{text: s.text, at: at, out: []byte{'-'}, last: other, hasAt: s.hasAt}
	if end, p := next.match(next.run()); p == Number {
		return end
	}
	return 0
}
