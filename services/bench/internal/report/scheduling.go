package report

import (
	"fmt"
	"io"
	"strings"
)

// Scheduling is what many tasks cost that wait for their time.
type Scheduling struct {
	Setup
	PayloadBytes int `json:"payload_bytes"`
	Connections  int `json:"connections"`
	// Rate is how many tasks per second were accepted for later.
	Rate float64 `json:"tasks_per_second"`
	// Before and After are measured before they were scheduled and while they
	// waited.
	Before Waiting `json:"before"`
	After  Waiting `json:"after"`
}

// Waiting is how a gateway is while so many tasks wait for their time.
type Waiting struct {
	Tasks int `json:"tasks"`
	// ResidentBytes is the gateway's memory, PeakBytes the most that it had until
	// then, and StoreBytes the size of its store's files.
	ResidentBytes int64 `json:"resident_bytes"`
	PeakBytes     int64 `json:"peak_bytes"`
	StoreBytes    int64 `json:"store_bytes"`
	// RunNow is from RunTaskNow, and Due from a task's time, until its handler is
	// called.
	RunNow Percentiles `json:"run_now"`
	Due    Percentiles `json:"due"`
}

// Percentiles are in milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// Print prints it for people.
func (s *Scheduling) Print(out io.Writer) error {
	var b strings.Builder
	s.print(&b)
	fmt.Fprintf(&b, "payload %d B, %d gRPC connections; %s tasks were scheduled, %s a second\n\n",
		s.PayloadBytes, s.Connections, count(s.After.Tasks), number(s.Rate))
	table(&b, "\tbefore\tafter\t", []string{
		strings.Join([]string{"tasks that wait", count(s.Before.Tasks), count(s.After.Tasks), ""}, "\t"),
		s.row("gateway's memory", "MiB", func(w Waiting) float64 { return mebi(w.ResidentBytes) }),
		s.row("its peak", "MiB", func(w Waiting) float64 { return mebi(w.PeakBytes) }),
		s.row("store's files", "MiB", func(w Waiting) float64 { return mebi(w.StoreBytes) }),
		s.row("RunTaskNow to start p50", "ms", func(w Waiting) float64 { return w.RunNow.P50 }),
		s.row("RunTaskNow to start p99", "ms", func(w Waiting) float64 { return w.RunNow.P99 }),
		s.row("due to start p50", "ms", func(w Waiting) float64 { return w.Due.P50 }),
		s.row("due to start p99", "ms", func(w Waiting) float64 { return w.Due.P99 }),
	})
	if s.After.Tasks > 0 {
		fmt.Fprintf(&b, "\nA task that waits takes %s bytes of memory and %s of the store.\n",
			number(perTask(s, func(w Waiting) int64 { return w.ResidentBytes })), number(perTask(s, func(w Waiting) int64 { return w.StoreBytes })))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (s *Scheduling) row(name, unit string, of func(Waiting) float64) string {
	return strings.Join([]string{name, number(of(s.Before)), number(of(s.After)), unit}, "\t")
}

// perTask is how much more there is for each task that waits, 0 where there is
// less.
func perTask(s *Scheduling, of func(Waiting) int64) float64 {
	return max(float64(of(s.After)-of(s.Before))/float64(s.After.Tasks), 0)
}

func mebi(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// WriteJSON writes it to a file.
func (s *Scheduling) WriteJSON(file string) error { return writeJSON(file, s) }
