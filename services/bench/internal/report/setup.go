package report

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/machine"
)

// Setup is what was measured, and on what.
type Setup struct {
	Time    time.Time     `json:"time"`
	Version string        `json:"version"`
	Machine machine.Facts `json:"machine"`
	// Broker and Erlang are what the broker says of itself.
	Broker string `json:"broker"`
	Erlang string `json:"erlang"`
}

// print prints it and ends within a line, where the settings follow.
func (s Setup) print(b *strings.Builder) {
	m := s.Machine
	fmt.Fprintf(b, "%d cores (%s), %s, kernel %s, %s, %s, %s; data on %s\n",
		m.Cores, m.CPU, m.System, m.Kernel, m.Go, s.Broker, s.Erlang, m.Filesystem)
	fmt.Fprintf(b, "Warren %s, ", s.Version)
}

// writeJSON writes a report to a file.
func writeJSON(file string, report any) error {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
