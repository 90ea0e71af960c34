//go:build unix

package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/platform"
)

// prefetch is a number, or a share of the concurrency.
type prefetch struct {
	number, percent int
}

// UnmarshalText reads a number such as 16 or a share such as 25%.
func (p *prefetch) UnmarshalText(text []byte) error {
	digits, share := strings.CutSuffix(string(text), "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is neither a positive number nor a positive percentage of the concurrency", text)
	}
	if share {
		*p = prefetch{percent: n}
		return nil
	}
	*p = prefetch{number: n}
	return nil
}

// of is the number for a concurrency, at least 1.
func (p prefetch) of(concurrency int) int {
	if p.percent > 0 {
		return max(concurrency*p.percent/100, 1)
	}
	return p.number
}

// matrix has everything that is combined with everything else.
type matrix struct {
	Concurrency []int           `help:"Tasks that the worker runs at the same time." default:"4,16,64"`
	Prefetch    []prefetch      `help:"Tasks that it fetches meanwhile: a number, or a share of the concurrency." default:"1,25%,100%,400%"`
	Retries     []float64       `help:"Share of tasks whose first attempt fails and is followed by another one after 100 ms." default:"0,0.2"`
	Work        []time.Duration `help:"How long a handler takes." default:"0ms,10ms"`
}

func (m *matrix) check() error {
	for _, n := range m.Concurrency {
		if n < 1 || n > load.BatchTasks {
			return fmt.Errorf("a concurrency of %d is not from 1 to %d", n, load.BatchTasks)
		}
	}
	for _, share := range m.Retries {
		if share < 0 || share > 1 {
			return fmt.Errorf("a share of retries of %v is not from 0 to 1", share)
		}
	}
	for _, d := range m.Work {
		if d < 0 {
			return fmt.Errorf("work of %v is negative", d)
		}
	}
	if len(m.Concurrency) == 0 || len(m.Prefetch) == 0 || len(m.Retries) == 0 || len(m.Work) == 0 {
		return errors.New("concurrency, prefetch, retries and work need a value each")
	}
	return nil
}

// workers are the settings, each once: shares of a small concurrency can come to
// the same number.
func (m *matrix) workers() []platform.WorkerSettings {
	var all []platform.WorkerSettings
	for _, concurrency := range m.Concurrency {
		for _, p := range m.Prefetch {
			settings := platform.WorkerSettings{Concurrency: concurrency, Prefetch: p.of(concurrency)}
			if !slices.Contains(all, settings) {
				all = append(all, settings)
			}
		}
	}
	return all
}

// works are what each worker is given to do.
func (m *matrix) works() []load.Work {
	var all []load.Work
	for _, take := range m.Work {
		for _, retries := range m.Retries {
			all = append(all, load.Work{Take: take, Retries: retries})
		}
	}
	return all
}
