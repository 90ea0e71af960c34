package callmeta

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Metadata is the options as metadata: those that are set. [Parse] reads it back, and
// judges it: nothing is checked here, but any value can be sent.
func (o *Options) Metadata() metadata.MD {
	md := metadata.MD{}
	o.Set(md)
	return md
}

// Set writes the options that are set into md, in place of what it has of their keys.
func (o *Options) Set(md metadata.MD) {
	if o.Mode == ModeAsync {
		md.Set(KeyMode, textAsync)
	}
	if o.Priority != 0 {
		md.Set(KeyPriority, formatPriority(o.Priority))
	}
	if o.Delay != 0 {
		md.Set(KeyDelay, formatDuration(o.Delay))
	}
	switch {
	case !o.ExpireTime.IsZero():
		md.Set(KeyExpire, o.ExpireTime.UTC().Format(time.RFC3339Nano))
	case o.ExpireAfter != 0:
		md.Set(KeyExpire, formatDuration(o.ExpireAfter))
	}
	if len(o.Labels) > 0 {
		md.Set(KeyLabels, formatLabels(o.Labels))
	}
	if o.MaxAttempts != 0 {
		md.Set(KeyMaxAttempts, strconv.Itoa(int(o.MaxAttempts)))
	}
	if o.IdempotencyKey != "" {
		md.Set(KeyIdempotencyKey, escape(o.IdempotencyKey))
	}
	if o.CancelOnDisconnect {
		md.Set(KeyCancelOnDisconnect, textTrue)
	}
	if o.LateHeaders {
		md.Set(KeyHeaders, textLate)
	}
}

// The words that values are made of.
const (
	textSync, textAsync = "sync", "async"
	textTrue, textFalse = "true", "false"
	textLate            = "late"
)

// priorityNames are those of the proto less its prefix.
var priorityNames = map[string]taskv1.Priority{
	"LOW": taskv1.Priority_PRIORITY_LOW, "NORMAL": taskv1.Priority_PRIORITY_NORMAL,
	"HIGH": taskv1.Priority_PRIORITY_HIGH, "CRITICAL": taskv1.Priority_PRIORITY_CRITICAL,
}

func formatPriority(p taskv1.Priority) string {
	for name, value := range priorityNames {
		if value == p {
			return name
		}
	}
	return strconv.Itoa(int(p))
}

// formatDuration is that of time.Duration in ASCII, which spells microseconds 1µs.
func formatDuration(d time.Duration) string { return strings.ReplaceAll(d.String(), "µ", "u") }

func formatLabels(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, url.QueryEscape(key)+"="+url.QueryEscape(labels[key]))
	}
	return strings.Join(pairs, ",")
}

// escape writes as %XX what is no printable ASCII, the space, which the transport
// takes off the ends of a value, and the percent sign itself.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
