package report_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/bench/internal/machine"
	"github.com/warrenmq/warren/services/bench/internal/report"
	"github.com/warrenmq/warren/services/bench/internal/rounds"
)

var setup = report.Setup{
	Version: "v1", Broker: "RabbitMQ 4.3.6", Erlang: "Erlang/OTP 29",
	Machine: machine.Facts{Cores: 2, CPU: "Some CPU", Kernel: "6.1", System: "linux/amd64", Go: "go1.26", Filesystem: "ext4"},
}

// example is a report of two measures and one that failed.
func example() *report.Report {
	ms := func(all ...int) []time.Duration {
		var d []time.Duration
		for _, n := range all {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	r := &report.Report{
		Setup:    setup,
		Settings: report.Settings{Rounds: 3, PayloadBytes: 256, Concurrency: 64, Connections: 2},
	}
	r.Fill([]rounds.Result{
		{
			Measure: "L64", Tasks: 40_000,
			Series: []rounds.Series{{Name: "rate", Unit: "messages/s", Numbers: []float64{12_000, 10_000, 20_000}}},
			CPU:    map[string][]time.Duration{"bench": ms(400, 800, 1200), "machine": ms(2000, 2000, 2000)},
			Took:   ms(2000, 2000, 2000),
		},
		{
			Measure: "unary", Tasks: 20_000,
			Series: []rounds.Series{
				{Name: "accepted", Unit: "tasks/s", Numbers: []float64{6000, 6000, 6000}},
				{Name: "done", Unit: "tasks/s", Numbers: []float64{4800, 4500, 8200}},
			},
			CPU:  map[string][]time.Duration{"bench": ms(1000, 1000, 1000), "gateway": ms(1400, 1400, 1400), "machine": ms(2400, 2400, 2390)},
			Took: ms(4000, 4000, 4000),
		},
		{Measure: "bulk", Tasks: 20_000, CPU: map[string][]time.Duration{}, Err: errors.New("no such method")},
	}, []report.Comparison{
		{Measure: "unary", Name: "done", Of: "L64", NameOfOther: "rate"},
		{Measure: "bulk", Name: "done", Of: "L1", NameOfOther: "rate"},
	}, "machine")
	return r
}

const table = `2 cores (Some CPU), linux/amd64, kernel 6.1, go1.26, RabbitMQ 4.3.6, Erlang/OTP 29; data on ext4
Warren v1, payload 256 B, rounds: 3; tasks a round: L64 40,000, bulk 20,000, unary 20,000; worker concurrency 64, 2 gRPC connections

                  median     min     max    MAD
  L64 rate        12,000  10,000  20,000  2,000  messages/s
  unary accepted   6,000   6,000   6,000   0.00     tasks/s
  unary done       4,800   4,500   8,200    300     tasks/s

Ratios, each to what was measured in the same round

                    median    min    max    MAD
  unary done / L64   0.410  0.400  0.450  0.010

CPU time, microseconds per task or message (x 0.01: seconds per 10,000), medians;
and how many of the cores other processes kept busy

         bench  gateway   all  others' cores
  L64     20.0     0.00  20.0           0.60
  unary   50.0     70.0   120           0.00

bulk was not measured to the end: no such method
`

func TestTheTable(t *testing.T) {
	require.Equal(t, table, printed(t, example()))
}

// printed is what is printed, less what is blank at the ends of lines.
func printed(t *testing.T, r interface{ Print(io.Writer) error }) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, r.Print(&out))
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestTheJSON(t *testing.T) {
	got := &report.Report{}
	text := written(t, example(), got)
	require.Equal(t, example(), got)
	require.Contains(t, text, `"median": 12000`)
	require.Contains(t, text, "\n  \"version\": \"v1\"")
}

// written writes a report to a file and reads it again.
func written(t *testing.T, r interface{ WriteJSON(string) error }, into any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, r.WriteJSON(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
	return string(text)
}
