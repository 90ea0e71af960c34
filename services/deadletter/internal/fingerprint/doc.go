// Package fingerprint says which failures are the same one. It is pure: the same
// failure has the same fingerprint everywhere and for ever, until [Version] grows.
//
// The fingerprint is that of the task type and of what the handler itself gave as one
// (ErrorInfo metadata `fingerprint`); else that of the task type, the cause, the code,
// the domain and reason of the ErrorInfo, and the message normalized: what differs from
// one failure to the next stands as a placeholder.
//
//   - <uuid>: a UUID.
//   - <time>: a date, a time of day with seconds, or both, as RFC 3339, Go, RFC 1123,
//     syslog and web servers write them; the zone goes with it.
//   - <addr>: an IPv4 or IPv6 address, and the host of HOST:PORT, each with its port; an
//     e-mail address; what follows a URL's scheme up to the path, credentials included.
//     The path stays, and is normalized as any text; query and fragment are <text>. A
//     host needs a dot in its name, or it is a word: postgres:<num>. What looks like a
//     source file, as in main.go:12, is none, nor is a name with capitals.
//   - <hex>: 0x…, at least 8 hexadecimal digits one of which is 0 to 9 but not all, pairs
//     of them joined by colons, and what Java prints after an object's @.
//   - <num>: a number with its sign, decimals and exponent, and the unit of a duration or
//     size that directly follows it: `999ms` and `1.2s` are the same. 1.2.3 is one
//     number. Of a word that begins with digits each group of them is one; of a word
//     that begins with letters, each of at least 4 digits: ipv4, http2 and sha256 stay,
//     user4711 is user<num>.
//   - <id>: a word in which letters and digits take turns at least three times.
//   - <text>: what single quotes, double quotes or backticks enclose, and they with it. An
//     apostrophe within a word is no quote, and one without its partner stays.
//
// Whitespace becomes one space, and none at the ends. All else stays as it is, letter for
// letter. Normalizing takes time linear in the message, looks at its first 64 KiB, and
// changes nothing of what was normalized.
package fingerprint
