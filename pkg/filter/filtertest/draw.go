package filtertest

import "pgregory.net/rapid"

// Draw draws the text of a filter that is nested as deep as is said at most, from
// restrictions.
func Draw(t *rapid.T, depth int, restriction func(*rapid.T) string) string {
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		return restriction(t)
	}
	a, b := "("+Draw(t, depth-1, restriction)+")", "("+Draw(t, depth-1, restriction)+")"
	return rapid.SampledFrom([]string{a + " AND " + b, a + " OR " + b, "NOT " + a, "-" + b, a + " AND " + b + " OR " + a}).Draw(t, "join")
}
