//go:build unix

package platform

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// linesShown of each log are enough to see why a process failed.
const linesShown = 20

// ShowLogs prints the end of each process's log.
func (p *Platform) ShowLogs(out io.Writer) {
	for _, process := range []string{ProcessGateway, ProcessWorker} {
		text, err := os.ReadFile(p.log(process))
		if err != nil {
			continue
		}
		lines := bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
		_, _ = fmt.Fprintf(out, "\nThe end of the log of the %s:\n%s\n", process, bytes.Join(lines[max(0, len(lines)-linesShown):], nil))
	}
}
