//go:build unix

package platform

import (
	"fmt"
	"io"

	"github.com/warrenmq/warren/pkg/process"
)

// linesShown of each log are enough to see why a process failed.
const linesShown = 20

// ShowLogs prints the end of each process's log.
func (p *Platform) ShowLogs(out io.Writer) {
	for _, name := range []string{ProcessGateway, ProcessWorker, ProcessServer} {
		if text, err := process.Tail(p.log(name), linesShown); err == nil {
			_, _ = fmt.Fprintf(out, "\nThe end of the log of the %s:\n%s\n", name, text)
		}
	}
}
