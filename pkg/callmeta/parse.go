package callmeta

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Error says what is wrong with one key of a call's metadata.
type Error struct {
	// Key is as it was given.
	Key string
	// Problem is for people: valid UTF-8, and bounded however long the value is.
	Problem string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("metadata %s %s", e.Key, e.Problem) }

// parsers has the reader of each key's value; it returns the problem.
var parsers = map[string]func(o *Options, value string) string{
	KeyMode:               (*Options).parseMode,
	KeyPriority:           (*Options).parsePriority,
	KeyDelay:              (*Options).parseDelay,
	KeyExpire:             (*Options).parseExpire,
	KeyLabels:             (*Options).parseLabels,
	KeyMaxAttempts:        (*Options).parseMaxAttempts,
	KeyIdempotencyKey:     (*Options).parseIdempotencyKey,
	KeyCancelOnDisconnect: (*Options).parseCancelOnDisconnect,
	KeyHeaders:            (*Options).parseHeaders,
}

// ignored are the keys that handlers receive and may pass on.
var ignored = []string{KeyTaskID, KeyRun, KeyAttempt}

// Parse reads the options from a call's metadata, whose keys are in lower case.
// Keys that don't begin with [Prefix] are not looked at. Errors: an [*Error] for the
// first key, in their order, that is unknown, given twice or has a bad value.
func Parse(md metadata.MD) (Options, error) {
	var keys []string
	for key := range md {
		if strings.HasPrefix(key, Prefix) && !slices.Contains(ignored, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var o Options
	for _, key := range keys {
		if problem := o.parse(key, md[key]); problem != "" {
			return Options{}, &Error{Key: strings.ToValidUTF8(clip(key), "�"), Problem: problem}
		}
	}
	return o, nil
}

func (o *Options) parse(key string, values []string) string {
	parser, ok := parsers[key]
	switch {
	case !ok:
		return "is not known; known are " + strings.Join(slices.Sorted(maps.Keys(parsers)), ", ")
	case len(values) == 0:
		return ""
	case len(values) > 1:
		return fmt.Sprintf("is given %d times; give it once", len(values))
	case values[0] == "":
		return "is empty; leave it out"
	}
	return parser(o, values[0])
}

func (o *Options) parseMode(value string) string {
	switch value {
	case textAsync:
		o.Mode = ModeAsync
	case textSync:
	default:
		return notOf(value, "sync or async")
	}
	return ""
}

func (o *Options) parsePriority(value string) string {
	if p, ok := priorityNames[strings.ToUpper(value)]; ok {
		o.Priority = p
		return ""
	}
	p, ok := parseNumber(value, 9)
	if !ok {
		return notOf(value, "a number from 1 to 9, or one of LOW, NORMAL, HIGH, CRITICAL")
	}
	o.Priority = taskv1.Priority(p)
	return ""
}

func (o *Options) parseDelay(value string) string {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > MaxDelay {
		return notOf(value, "a duration from 0s to 87600h, such as 90s or 1h30m")
	}
	o.Delay = d
	return ""
}

func (o *Options) parseExpire(value string) string {
	if d, err := time.ParseDuration(value); err == nil && d > 0 {
		o.ExpireAfter = d
		return ""
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil || t.IsZero() || !timestamppb.New(t).IsValid() {
		return notOf(value, "a duration above 0s, such as 90s or 1h30m, or a time such as 2030-01-31T13:00:00Z")
	}
	o.ExpireTime = t.UTC()
	return ""
}

func (o *Options) parseMaxAttempts(value string) string {
	n, ok := parseNumber(value, MaxAttempts)
	if !ok {
		return notOf(value, "a number from 1 to 1000")
	}
	o.MaxAttempts = n
	return ""
}

func (o *Options) parseIdempotencyKey(value string) string {
	key, err := url.PathUnescape(value)
	switch {
	case err != nil:
		return notOf(value, "text whose every % is followed by two hexadecimal digits; write %25 for the sign itself")
	case !utf8.ValidString(key):
		return notOf(value, "UTF-8")
	case len(key) > MaxIdempotencyBytes:
		return fmt.Sprintf("has %d bytes; at most %d are allowed", len(key), MaxIdempotencyBytes)
	}
	o.IdempotencyKey = key
	return ""
}

func (o *Options) parseCancelOnDisconnect(value string) string {
	switch value {
	case textTrue:
		o.CancelOnDisconnect = true
	case textFalse:
	default:
		return notOf(value, "true or false")
	}
	return ""
}

func (o *Options) parseHeaders(value string) string {
	if value != textLate {
		return notOf(value, "late")
	}
	o.LateHeaders = true
	return ""
}

// parseNumber reads a decimal number from 1 to most.
func parseNumber(value string, most int32) (int32, bool) {
	n, err := strconv.ParseInt(value, 10, 32)
	return int32(n), err == nil && n >= 1 && n <= int64(most)
}

// notOf says what a value is not.
func notOf(value, wanted string) string {
	return fmt.Sprintf("is %q, and must be %s", clip(value), wanted)
}

// maxShown bounds what is shown of a value.
const maxShown = 100

// clip makes a text short.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > maxShown-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
