package callmeta

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

var labelKey = regexp.MustCompile(`^[a-zA-Z0-9._/-]+$`)

func (o *Options) parseLabels(value string) string {
	// One more than allowed is enough to know.
	pairs := strings.SplitN(value, ",", MaxLabels+1)
	if len(pairs) > MaxLabels {
		return fmt.Sprintf("has more than %d labels", MaxLabels)
	}
	labels := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, problem := parseLabel(pair)
		if _, twice := labels[key]; problem == "" && twice {
			problem = "has the label " + key + " twice"
		}
		if problem != "" {
			return problem
		}
		labels[key] = value
	}
	o.Labels = labels
	return ""
}

// parseLabel reads KEY=VALUE. Spaces around it are not part of it: one that is, is
// escaped.
func parseLabel(pair string) (key, value, problem string) {
	pair = strings.TrimSpace(pair)
	rawKey, rawValue, ok := strings.Cut(pair, "=")
	if !ok {
		return "", "", fmt.Sprintf("has %q, which is not KEY=VALUE", clip(pair))
	}
	key, keyErr := url.QueryUnescape(rawKey)
	value, valueErr := url.QueryUnescape(rawValue)
	switch {
	case keyErr != nil || valueErr != nil:
		problem = "is not escaped as in the query of a URL"
	case len(key) > MaxLabelKeyBytes || !labelKey.MatchString(key):
		problem = fmt.Sprintf("has a key that is not 1 to %d of a-z A-Z 0-9 . _ / -", MaxLabelKeyBytes)
	case len(value) > MaxLabelValueBytes:
		problem = fmt.Sprintf("has a value of %d bytes; at most %d are allowed", len(value), MaxLabelValueBytes)
	case !utf8.ValidString(value):
		problem = "has a value that is not UTF-8"
	default:
		return key, value, ""
	}
	return "", "", fmt.Sprintf("has %q, which %s", clip(pair), problem)
}
