// Package filter reads the filters of dead letters, which are those of AIP-160
// (https://google.aip.dev/160), and checks them: what comes out needs no further
// check to be made into a query.
//
// A filter compares fields with values, joined by AND, OR (which binds tighter),
// NOT or a leading minus, and parentheses:
//
//		state = OPEN AND (code = "UNAVAILABLE" OR message:"timed out") AND -labels.env = "test"
//
//	  - state, cause and code take names; `!=` and `:*` (it has one) too.
//	  - type, reason, message, worker_id, trace_id, task_id and labels.KEY take
//	    texts, `=` and `!=` letter for letter with `*` for any text; `:` finds a part
//	    of the text, A to Z and a to z being the same, and `:*` any text.
//	    labels:KEY, and labels.KEY:*, ask whether there is such a label.
//	  - run, attempt and occurrence_count take whole numbers; create_time,
//	    dead_time and update_time take RFC 3339 times in quotes, to the microsecond.
//	    Both know = != < <= > >=.
//
// Texts need quotes unless they consist of letters, digits, underscores and
// single dots, and don't begin with a digit. A != b is NOT A = b, so it also holds
// for what has no A.
package filter
