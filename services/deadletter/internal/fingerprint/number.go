package fingerprint

import "unicode/utf8"

// units are those of durations and sizes.
var units = map[string]bool{
	"ns": true, "us": true, "µs": true, "μs": true, "ms": true, "s": true, "sec": true, "secs": true, "m": true, "min": true,
	"mins": true, "h": true, "hr": true, "hrs": true, "d": true,
	"b": true, "B": true, "k": true, "K": true, "kb": true, "kB": true, "KB": true, "Kb": true, "mb": true, "MB": true, "Mb": true,
	"gb": true, "GB": true, "Gb": true, "tb": true, "TB": true, "PB": true, "M": true, "G": true, "T": true,
	"Ki": true, "Mi": true, "Gi": true, "Ti": true, "KiB": true, "MiB": true, "GiB": true, "TiB": true, "PiB": true,
}

// matchNumber is the end of a number, or of numbers each with its unit; 0 if a word goes
// on where it would end, unless what is behind its last dot is all that is unclear.
func matchNumber(text string, at int) int {
	first := 0
	for i := at; ; {
		digits := decimal(text, i)
		if digits == i {
			return first
		}
		if first == 0 {
			first = whole(text, i)
		}
		if end := exponent(text, digits); end > 0 {
			return end
		}
		if ends(text, digits) {
			return digits
		}
		unit := letters(text, digits)
		if !units[text[digits:unit]] {
			return first
		}
		if ends(text, unit) {
			return unit
		}
		i = unit
	}
}

// whole is the end of the digits and dots whose last digits begin a word: those before
// them, since the word is looked at for itself; 0 without dots.
func whole(text string, at int) int {
	end := 0
	for {
		at = while(text, at, isDigit)
		if at+1 >= len(text) || text[at] != '.' || !isDigit(text[at+1]) {
			return end
		}
		end = at
		at++
	}
}

// decimal is the end of digits, with dots between them.
func decimal(text string, at int) int {
	at = while(text, at, isDigit)
	for at+1 < len(text) && text[at] == '.' && isDigit(text[at+1]) {
		at = while(text, at+1, isDigit)
	}
	return at
}

// exponent is the end of an exponent that ends a number; 0 if there is none.
func exponent(text string, at int) int {
	if at >= len(text) || text[at]|0x20 != 'e' {
		return 0
	}
	at++
	if at < len(text) && (text[at] == '+' || text[at] == '-') {
		at++
	}
	end := while(text, at, isDigit)
	if end == at || !ends(text, end) {
		return 0
	}
	return end
}

// letters is the end of the letters at a place.
func letters(text string, at int) int {
	for at < len(text) && !isDigit(text[at]) {
		n := wordSize(text, at)
		if n == 0 || n > utf8.UTFMax {
			break
		}
		at += n
	}
	return at
}

// matchISODuration is the end of an ISO 8601 duration of hours or less, as Java prints
// them: PT1M30.5S.
func matchISODuration(text string, at int) int {
	if len(text)-at < 4 || text[at] != 'P' || text[at+1] != 'T' || !isDigit(text[at+2]) {
		return 0
	}
	end := while(text, at+2, func(c byte) bool { return isDigit(c) || c == '.' || c == 'H' || c == 'M' || c == 'S' })
	for text[end-1] == '.' {
		end--
	}
	if !isUpper(text[end-1]) || !ends(text, end) || end < len(text) && text[end] == '.' && !ends(text, end+1) {
		return 0
	}
	return end
}
