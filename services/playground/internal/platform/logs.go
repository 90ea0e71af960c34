//go:build unix

package platform

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/warrenmq/warren/pkg/process"
)

const (
	gatewayLog    = "gateway.log"
	deadletterLog = "deadletter.log"
	workerLog     = "worker.log"
	tailLines     = 20
)

func logs() []string { return []string{gatewayLog, deadletterLog, workerLog} }

// PrintLogs prints the end of the log of each process that was started, for
// when something was wrong.
func (c Config) PrintLogs() {
	for _, name := range logs() {
		tail, err := process.Tail(filepath.Join(c.Dir, name), tailLines)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			tail = err.Error()
		}
		c.Print.Title("The end of %s:", name)
		c.Print.Text(tail)
	}
}
