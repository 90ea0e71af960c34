package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/warrenmq/warren/services/bench/internal/stats"
)

// Print prints the report for people.
func (r *Report) Print(out io.Writer) error {
	var b strings.Builder
	r.printFacts(&b)
	table(&b, "\tmedian\tmin\tmax\tMAD\t", r.valueRows())
	if len(r.Ratios) > 0 {
		b.WriteString("\nRatios, each to what was measured in the same round\n\n")
		table(&b, "\tmedian\tmin\tmax\tMAD", r.ratioRows())
	}
	if len(r.CPU) > 0 {
		b.WriteString("\nCPU time, microseconds per task or message (x 0.01: seconds per 10,000), medians;\n" +
			"and how many of the cores other processes kept busy\n\n")
		table(&b, "\t"+strings.Join(r.processes(), "\t")+"\tall\tothers' cores", r.usageRows())
	}
	for _, measure := range slices.Sorted(maps.Keys(r.Failures)) {
		fmt.Fprintf(&b, "\n%s was not measured to the end: %s\n", measure, r.Failures[measure])
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (r *Report) printFacts(b *strings.Builder) {
	r.print(b)
	var tasks []string
	for _, measure := range slices.Sorted(maps.Keys(r.Settings.Tasks)) {
		tasks = append(tasks, fmt.Sprintf("%s %s", measure, number(float64(r.Settings.Tasks[measure]))))
	}
	fmt.Fprintf(b, "payload %d B, rounds: %d; tasks a round: %s; worker concurrency %d, %d gRPC connections\n\n",
		r.Settings.PayloadBytes, r.Settings.Rounds, strings.Join(tasks, ", "), r.Settings.Concurrency, r.Settings.Connections)
}

// table aligns the first cell of each row to the left and all others to the right.
func table(b *strings.Builder, head string, rows []string) {
	width := 0
	for _, row := range rows {
		width = max(width, strings.IndexByte(row, '\t'))
	}
	text := head + "\t\n"
	for _, row := range rows {
		name, cells, _ := strings.Cut(row, "\t")
		text += fmt.Sprintf("%-*s\t%s\t\n", width, name, cells)
	}
	// A strings.Builder takes everything.
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = io.WriteString(w, text)
	_ = w.Flush()
}

func (r *Report) valueRows() []string {
	var rows []string
	for _, v := range r.Values {
		rows = append(rows, fmt.Sprintf("%s %s\t%s\t%s", v.Measure, v.Name, numbers(v.Summary, number), v.Unit))
	}
	return rows
}

func (r *Report) ratioRows() []string {
	var rows []string
	for _, ratio := range r.Ratios {
		rows = append(rows, fmt.Sprintf("%s %s / %s\t%s", ratio.Measure, ratio.Name, ratio.Of, numbers(ratio.Summary, share)))
	}
	return rows
}

func (r *Report) processes() []string {
	var names []string
	for _, u := range r.CPU {
		if !slices.Contains(names, u.Process) {
			names = append(names, u.Process)
		}
	}
	return names
}

// usageRows have a row for each measure and a column for each process.
func (r *Report) usageRows() []string {
	var rows []string
	for _, others := range r.Others {
		row, sum := others.Measure, 0.0
		for _, process := range r.processes() {
			used := r.usedBy(others.Measure, process)
			row += "\t" + number(used)
			sum += used
		}
		rows = append(rows, row+"\t"+number(sum)+"\t"+number(others.Median))
	}
	return rows
}

func (r *Report) usedBy(measure, process string) float64 {
	for _, u := range r.CPU {
		if u.Measure == measure && u.Process == process {
			return u.Median
		}
	}
	return 0
}

func numbers(s stats.Summary, text func(float64) string) string {
	return strings.Join([]string{text(s.Median), text(s.Min), text(s.Max), text(s.MAD)}, "\t")
}

func share(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

// count is a whole number.
func count(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return number(float64(n))
}

// number has the digits that matter: all of them before the point, with commas
// between thousands, and some after it where there are few before.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
