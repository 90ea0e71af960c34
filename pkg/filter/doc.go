// Package filter reads filters of lists and watches, which are those of AIP-160
// (https://google.aip.dev/160), and checks them against the fields that a
// [Schema] declares: what comes out needs no further check to be made into a
// query.
//
// A filter compares fields with values, joined by AND, OR (which binds tighter),
// NOT or a leading minus, and parentheses:
//
//		state = OPEN AND (code = "UNAVAILABLE" OR message:"timed out") AND -labels.env = "test"
//
//	  - [Names], e.g. of states: `=` and `:` are the same; `!=`, and `:*` (it has
//	    one) too.
//	  - [Texts], [IDs] and labels.KEY: `=` and `!=` letter for letter with `*` for
//	    any text; `:` finds a part of the text, A to Z and a to z being the same,
//	    and `:*` any text. labels:KEY, and labels.KEY:*, ask whether there is such
//	    a label.
//	  - [Numbers] are whole numbers; [Times] are RFC 3339 times in quotes, to the
//	    microsecond. Both know = != < <= > >=.
//
// Texts need quotes unless they consist of letters, digits, underscores and
// single dots, and don't begin with a digit. A != b is NOT A = b, so it also holds
// for what has no A.
package filter
