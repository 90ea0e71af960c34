//go:build unix

package platform

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/warrenmq/warren/services/bench/internal/usage"
)

// store is the main file of the gateway's store.
func (p *Platform) store() string { return filepath.Join(p.cfg.Dir, "gateway.db") }

// StoreBytes is the size of all files of the gateway's store.
func (p *Platform) StoreBytes() (int64, error) {
	files, err := filepath.Glob(p.store() + "*")
	if err != nil {
		return 0, fmt.Errorf("look for the files of the gateway's store: %w", err)
	}
	var sum int64
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return 0, fmt.Errorf("look at the gateway's store: %w", err)
		}
		sum += info.Size()
	}
	return sum, nil
}

// GatewayMemory is the memory of the gateway's process.
func (p *Platform) GatewayMemory() (usage.Memory, error) { return usage.ProcessMemory(p.gateway.Pid()) }
