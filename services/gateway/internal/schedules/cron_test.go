package schedules

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/policy"
)

func TestBadExpressionsHaveTheirPosition(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0 25 * * *":                      `hour "25" at position 3: `,
		"  0\t25 * * *":                   `hour "25" at position 5: `,
		"60 * * * *":                      `minute "60" at position 1: `,
		"0 2 32 * *":                      `day of month "32" at position 5: `,
		"0 2 1 XYZ *":                     `month "XYZ" at position 7: `,
		"0 2 1 JAN FRY":                   `day of week "FRY" at position 11: `,
		"0 5-3 * * *":                     `hour "5-3" at position 3: `,
		"*/0 * * * *":                     `minute "*/0" at position 1: `,
		"0 , * * *":                       `hour "," at position 3: it has no value`,
		"TZ=UTC * * * *":                  `minute "TZ=UTC" at position 1: `,
		"CRON_TZ=Asia/Tokyo 0 2 * *":      `minute "CRON_TZ=Asia/Tokyo" at position 1: `,
		"0 é * * *":                       `hour "é" at position 3: `,
		"0 2 * *":                         "it has 4 fields",
		"0 0 2 * * *":                     "it has 6 fields",
		"":                                "it has 0 fields",
		"@every 5m":                       `at position 1: set interval instead`,
		"@fortnightly":                    `"@fortnightly" at position 1: it is none of @yearly`,
		"99999999999999999999999 * * * *": `minute "99999999999999999999999" at position 1: `,
	} {
		_, err := parseCron(text)
		var bad *policy.FieldError
		require.ErrorAs(t, err, &bad, text)
		require.Equal(t, "cron", bad.Field)
		require.Contains(t, bad.Problem, want, text)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"@hourly":   time.Date(2026, 3, 4, 6, 0, 0, 0, time.UTC),
		"@daily":    time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC),
		"@midnight": time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC),
		"@weekly":   time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC),
		"@monthly":  time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC),
		"@yearly":   time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"@annually": time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		e, err := parseCron(text)
		require.NoError(t, err)
		require.Equal(t, text == "@hourly", e.passing)
		require.Equal(t, want, e.next(from, time.UTC), text)
	}
}

func TestNoTextBreaksTheParser(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[@*?0-9/,\-A-Z= ]{0,30}`),
			rapid.StringMatching(`([*?0-9/,\-]{1,5} ){4}[*?0-9/,\-A-Z]{1,5}`),
		).Draw(t, "text")
		e, err := parseCron(text)
		if err != nil {
			var bad *policy.FieldError
			if !errors.As(err, &bad) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if next := e.next(time.Unix(1.7e9, 0), time.UTC); !next.IsZero() && !next.After(time.Unix(1.7e9, 0)) {
			t.Fatalf("%q: %v", text, next)
		}
	})
}
