package fingerprint

import (
	"net/netip"
	"strings"
)

// matchUUID is the end of a UUID.
func matchUUID(text string, at int) int {
	const size = 36
	if len(text)-at < size || text[at+8] != '-' {
		return 0
	}
	for i := range size {
		c := text[at+i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return 0
			}
		} else if !isHex(c) {
			return 0
		}
	}
	if !ends(text, at+size) {
		return 0
	}
	return at + size
}

func isHexOrColon(c byte) bool { return isHex(c) || c == ':' }

// matchPairs is the end of at least 4 pairs of hexadecimal digits, one of them 0 to 9,
// joined by colons: MAC addresses, checksums of certificates.
func matchPairs(text string, at int, before byte) int {
	if before == ':' || len(text)-at < 11 || text[at+2] != ':' {
		return 0
	}
	end := while(text, at, isHexOrColon)
	if (end-at+1)%3 != 0 || end-at < 11 || !ends(text, end) {
		return 0
	}
	digit := false
	for i := at; i < end; i++ {
		if (text[i] == ':') != ((i-at)%3 == 2) {
			return 0
		}
		digit = digit || isDigit(text[i])
	}
	if !digit {
		return 0
	}
	return end
}

// maxIPv6 is the longest IPv6 address with an IPv4 address in it.
const maxIPv6 = 45

// matchIPv6 is the end of an IPv6 address with a digit in it, and of its zone.
func matchIPv6(text string, at int, before byte) int {
	if before == ':' || before == '.' {
		return 0
	}
	// Most of what is no address is seen at once.
	group := while(text, at, isHex)
	if group-at > 4 || group >= len(text) || text[group] != ':' {
		return 0
	}
	end := while(text, at, func(c byte) bool { return isHexOrColon(c) || c == '.' })
	full := end
	for text[end-1] == '.' || text[end-1] == ':' && end-at > 1 && text[end-2] != ':' {
		end--
	}
	if end-at > maxIPv6 || !ends(text, full) || !strings.ContainsAny(text[at:end], "0123456789") {
		return 0
	}
	if _, err := netip.ParseAddr(text[at:end]); err != nil {
		return 0
	}
	return zone(text, end)
}

// zone is the end of the zone that follows an IPv6 address.
func zone(text string, at int) int {
	if at+1 >= len(text) || text[at] != '%' {
		return at
	}
	if end := while(text, at+1, isAlnum); end > at+1 && ends(text, end) {
		return end
	}
	return at
}

// colons takes an IPv6 address that begins with a bracket or colons, or what begins with
// them and is none.
func (s *scanner) colons() {
	if !s.joined() {
		if end := s.bracketed(); end > 0 {
			s.replace(end, Address)
			return
		}
		if strings.HasPrefix(s.text[s.at:], "::") {
			if end := matchIPv6(s.text, s.at, s.before()); end > 0 {
				s.replace(end, Address)
				return
			}
		}
	}
	s.keep(s.at + 1)
}

// bracketed is the end of an IPv6 address in brackets, with its port.
func (s *scanner) bracketed() int {
	if s.text[s.at] != '[' || s.at+1 >= len(s.text) {
		return 0
	}
	rest := s.text[s.at+1 : min(len(s.text), s.at+1+maxIPv6+20)]
	size := strings.IndexByte(rest, ']')
	if size <= 0 || strings.IndexByte(rest[:size], ':') < 0 || !strings.ContainsAny(rest[:size], "0123456789") {
		return 0
	}
	if _, err := netip.ParseAddr(rest[:size]); err != nil {
		return 0
	}
	end := s.at + 1 + size + 1
	if !ends(s.text, end) {
		return 0
	}
	return port(s.text, end)
}

// port is the end of the port that follows a host, or the host's.
func port(text string, at int) int {
	if at >= len(text) || text[at] != ':' {
		return at
	}
	if end := while(text, at+1, isDigit); end > at+1 && end-at <= 6 && ends(text, end) {
		return end
	}
	return at
}

// matchIPv4 is the end of an IPv4 address, and of its port.
func matchIPv4(text string, at int) int {
	i := at
	for part := range 4 {
		if part > 0 {
			if i >= len(text) || text[i] != '.' {
				return 0
			}
			i++
		}
		end := while(text, i, isDigit)
		if end == i || end-i > 3 || end-i == 3 && text[i:end] > "255" {
			return 0
		}
		i = end
	}
	if !ends(text, i) || i+1 < len(text) && text[i] == '.' && isDigit(text[i+1]) {
		return 0
	}
	return port(text, i)
}

// files are the endings of names that look like those of hosts, and are source files'.
var files = map[string]bool{
	"go": true, "py": true, "js": true, "mjs": true, "ts": true, "tsx": true, "jsx": true, "java": true, "kt": true, "scala": true, "rb": true,
	"rs": true, "c": true, "cc": true, "cpp": true, "h": true, "hpp": true, "cs": true, "php": true, "swift": true, "ex": true, "exs": true,
	"erl": true, "lua": true, "pl": true, "sh": true, "sql": true, "proto": true, "yaml": true, "yml": true, "json": true, "xml": true,
	"html": true, "css": true, "toml": true, "ini": true, "cfg": true, "conf": true, "txt": true, "md": true, "csv": true, "log": true,
}

func isHost(c byte) bool { return isLower(c) || isDigit(c) || c == '.' || c == '-' }

// matchHost is the end of HOST:PORT.
func matchHost(text string, at int, before byte) int {
	if strings.IndexByte("._/\\-$~+%&", before) >= 0 && before != 0 {
		return 0
	}
	end := while(text, at, isHost)
	if end >= len(text) || text[end] != ':' || !isAlnum(text[end-1]) {
		return 0
	}
	name := text[at:end]
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 && name != "localhost" || files[name[dot+1:]] || while(name, dot+1, isDigit) == len(name) {
		return 0
	}
	if to := port(text, end); to > end {
		return to
	}
	return 0
}

func isMail(c byte) bool { return isAlnum(c) || strings.IndexByte("._%+-", c) >= 0 }

// Bounds of an e-mail address, so that a text without one is passed over once.
const (
	maxLocal  = 64
	maxDomain = 253
)

// matchMail is the end of an e-mail address.
func matchMail(text string, at int, before byte) int {
	if before != 0 && isMail(before) {
		return 0
	}
	sign := while(text, at, isMail)
	if sign-at > maxLocal || sign >= len(text) || text[sign] != '@' {
		return 0
	}
	end := while(text, sign+1, isDomain)
	full := end
	for end > sign+1 && text[end-1] == '.' {
		end--
	}
	domain := text[sign+1 : end]
	if len(domain) > maxDomain || !ends(text, full) {
		return 0
	}
	if domain == "localhost" {
		return end
	}
	dot := strings.LastIndexByte(domain, '.')
	if dot <= 0 || len(domain)-dot < 3 || !isAlnum(domain[0]) {
		return 0
	}
	for i := dot + 1; i < len(domain); i++ {
		if isDigit(domain[i]) || domain[i] == '-' {
			return 0
		}
	}
	return end
}

// isDomain is isHost, capitals included.
func isDomain(c byte) bool { return isHost(c) || isUpper(c) }
