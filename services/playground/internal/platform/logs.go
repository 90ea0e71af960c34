//go:build unix

package platform

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/warrenmq/warren/services/playground/internal/process"
)

const (
	gatewayLog = "gateway.log"
	workerLog  = "worker.log"
	tailLines  = 20
)

// PrintLogs prints the end of the log of each process that was started, for
// when something was wrong.
func (c Config) PrintLogs() {
	for _, name := range []string{gatewayLog, workerLog} {
		tail, err := process.Tail(filepath.Join(c.LogDir, name), tailLines)
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
