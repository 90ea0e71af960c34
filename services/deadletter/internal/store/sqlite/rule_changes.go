package sqlite

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// ruleChanges are what differs between two versions of a rule, as the API names it; the
// zero rule is none.
func ruleChanges(before, after *store.Rule) []store.AuditChange {
	var changes []store.AuditChange
	add := func(field string, text func(*store.Rule) string) {
		if a, b := text(before), text(after); a != b {
			changes = append(changes, store.AuditChange{Field: field, Before: a, After: b})
		}
	}
	add("trigger", func(r *store.Rule) string {
		if r.Trigger == 0 {
			return ""
		}
		return r.Trigger.String()
	})
	add("types", func(r *store.Rule) string { return strings.Join(r.Types, ", ") })
	add("codes", codeNames)
	add("threshold", func(r *store.Rule) string { return unlessZero(r.Threshold, strconv.FormatInt(r.Threshold, 10)) })
	add("window", func(r *store.Rule) string { return durationText(r.Window) })
	add("channels", func(r *store.Rule) string { return strings.Join(r.Channels, ", ") })
	add("throttle", func(r *store.Rule) string { return durationText(r.Throttle) })
	add("disabled", func(r *store.Rule) string {
		if r.Disabled {
			return "true"
		}
		return ""
	})
	return changes
}

func codeNames(r *store.Rule) string {
	names := make([]string, len(r.Codes))
	for i, c := range r.Codes {
		names[i] = code.Code(c).String()
	}
	return strings.Join(names, ", ")
}

func durationText(d time.Duration) string { return unlessZero(d, d.String()) }

func unlessZero[T comparable](value T, text string) string {
	var zero T
	if value == zero {
		return ""
	}
	return text
}
