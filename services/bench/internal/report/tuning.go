package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Tuning is what a worker's settings come to.
type Tuning struct {
	Setup
	PayloadBytes int `json:"payload_bytes"`
	Connections  int `json:"connections"`
	// Seconds is how long each combination is under load, about.
	Seconds float64 `json:"seconds"`
	// RetryMillis is after how long a failed attempt is followed by another one.
	RetryMillis float64 `json:"retry_ms"`
	// Combinations are in the order in which they were measured.
	Combinations []Combination `json:"combinations"`
}

// Combination is a worker's settings, the work that it did, and how that went.
type Combination struct {
	Concurrency int `json:"concurrency"`
	Prefetch    int `json:"prefetch"`
	// Retries is the share of tasks whose first attempt failed.
	Retries float64 `json:"retries"`
	// WorkMillis is how long a handler took.
	WorkMillis float64 `json:"work_ms"`
	// Throughput is how many tasks the worker carried out per second.
	Throughput float64 `json:"tasks_per_second"`
	// Offered is how many tasks were submitted per second when StartP50 and StartP99
	// were measured: from submission to start, in milliseconds.
	Offered  float64 `json:"offered_per_second"`
	StartP50 float64 `json:"start_p50_ms"`
	StartP99 float64 `json:"start_p99_ms"`
	// CriticalP50 is from submission to start of CRITICAL tasks behind a full queue,
	// in milliseconds, and CriticalTasks how many there were.
	CriticalP50   float64 `json:"critical_p50_ms"`
	CriticalTasks int     `json:"critical_tasks"`
}

// Print prints the table for people, by the work that was done.
func (t *Tuning) Print(out io.Writer) error {
	var b strings.Builder
	t.print(&b)
	fmt.Fprintf(&b, "payload %d B, %d gRPC connections; about %s s of load for each line; what fails is tried again after %s ms\n\n",
		t.PayloadBytes, t.Connections, plain(t.Seconds), plain(t.RetryMillis))
	table(&b, "\tconcurrency\tprefetch\ttasks/s\tstart p50\tp99\tCRITICAL p50", t.rows())
	b.WriteString("\nstart: milliseconds from submission until the handler is called, at half of that throughput;\n" +
		"CRITICAL: the same for a CRITICAL task behind a full queue.\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *Tuning) rows() []string {
	sorted := slices.SortedStableFunc(slices.Values(t.Combinations), func(a, b Combination) int {
		return cmp.Or(cmp.Compare(a.WorkMillis, b.WorkMillis), cmp.Compare(a.Retries, b.Retries),
			cmp.Compare(a.Concurrency, b.Concurrency), cmp.Compare(a.Prefetch, b.Prefetch))
	})
	var rows []string
	for _, c := range sorted {
		critical := "-"
		if c.CriticalTasks > 0 {
			critical = number(c.CriticalP50)
		}
		rows = append(rows, strings.Join([]string{
			fmt.Sprintf("work %s ms, %.0f %% retried", plain(c.WorkMillis), 100*c.Retries),
			fmt.Sprint(c.Concurrency), fmt.Sprint(c.Prefetch), number(c.Throughput), number(c.StartP50), number(c.StartP99), critical,
		}, "\t"))
	}
	return rows
}

// plain is for what was set, not measured.
func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// WriteJSON writes the table to a file.
func (t *Tuning) WriteJSON(file string) error { return writeJSON(file, t) }
