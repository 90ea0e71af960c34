package schedules

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/robfig/cron/v3"

	"github.com/warrenmq/warren/pkg/policy"
)

// cronFields are the fields of an expression, in their order.
var cronFields = []struct {
	name   string
	option cron.ParseOption
}{
	{"minute", cron.Minute}, {"hour", cron.Hour}, {"day of month", cron.Dom}, {"month", cron.Month}, {"day of week", cron.Dow},
}

const hourField = 1

// everyHours is an hour field that means hours as they pass, and not times of a day.
var everyHours = regexp.MustCompile(`^[*?](/[0-9]+)?$`)

// expression is a cron expression by the clock of some time zone.
type expression struct {
	// spec goes by UTC, which stands for a clock that neither skips nor repeats
	// anything.
	spec *cron.SpecSchedule
	// passing says that it means times as they pass: those that the clock skips are
	// none, those that it repeats are two.
	passing bool
}

// parseCron parses an expression. Errors: a [*policy.FieldError] that has the
// position of what is wrong, in bytes from 1.
func parseCron(text string) (expression, error) {
	if strings.HasPrefix(text, "@") {
		return parseName(text)
	}
	fields := split(text)
	if len(fields) != len(cronFields) {
		return expression{}, badCron("must have 5 fields (minute, hour, day of month, month, day of week) or be a name such as @daily, it has %d fields", len(fields))
	}
	for i, f := range fields {
		if err := checkField(i, f.text); err != nil {
			return expression{}, badCron("%s %q at position %d: %v", cronFields[i].name, f.text, f.position, err)
		}
	}
	spec, err := parse(cron.Minute|cron.Hour|cron.Dom|cron.Month|cron.Dow, text)
	if err != nil {
		return expression{}, badCron("%v", err)
	}
	return expression{spec, everyHours.MatchString(fields[hourField].text)}, nil
}

// parseName parses a name such as @daily.
func parseName(text string) (expression, error) {
	if strings.HasPrefix(text, "@every") {
		return expression{}, badCron("%q at position 1: set interval instead", text)
	}
	spec, err := parse(cron.Descriptor, text)
	if err != nil {
		return expression{}, badCron("%q at position 1: it is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly", text)
	}
	return expression{spec, text == "@hourly"}, nil
}

func badCron(format string, args ...any) error {
	return &policy.FieldError{Field: "cron", Problem: fmt.Sprintf(format, args...)}
}

// checkField parses a field by itself.
func checkField(i int, text string) error {
	switch {
	case strings.ContainsAny(text, "=@"):
		return fmt.Errorf("it has a character that no field has")
	case strings.Trim(text, ",") == "":
		return fmt.Errorf("it has no value")
	}
	_, err := parse(cronFields[i].option, text)
	return err
}

func parse(options cron.ParseOption, text string) (*cron.SpecSchedule, error) {
	schedule, err := cron.NewParser(options).Parse(text)
	if err != nil {
		return nil, err
	}
	spec, ok := schedule.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("it has no fields")
	}
	spec.Location = time.UTC
	return spec, nil
}

// field is a part of an expression with its position in it, in bytes from 1.
type field struct {
	text     string
	position int
}

// split gives the parts between white space.
func split(text string) (fields []field) {
	for rest := text; ; {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		if rest == "" {
			return fields
		}
		end := strings.IndexFunc(rest, unicode.IsSpace)
		if end < 0 {
			end = len(rest)
		}
		fields = append(fields, field{rest[:end], len(text) - len(rest) + 1})
		rest = rest[end:]
	}
}
