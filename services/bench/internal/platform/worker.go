//go:build unix

package platform

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/warrenmq/warren/pkg/process"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// WorkerSettings are a worker's.
type WorkerSettings struct {
	// Concurrency is how many tasks it runs at the same time. Required.
	Concurrency int
	// Prefetch is how many more it fetches meanwhile. Default: the worker's own.
	Prefetch int
}

// startWorker starts a worker, whose standard output are its reports.
func (p *Platform) startWorker(settings WorkerSettings) error {
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer out.Close()
	worker, err := process.Start(process.Spec{
		Name: "the worker", Program: p.cfg.Bench, Env: p.settings(), LogFile: p.log(ProcessWorker), Stdout: out,
		Args: []string{
			"work", "--concurrency=" + strconv.Itoa(settings.Concurrency), "--prefetch=" + strconv.Itoa(settings.Prefetch),
			"--grace=" + grace.String(),
		},
	})
	if err != nil {
		return errors.Join(err, in.Close())
	}
	reports, listening := noop.NewListener(), make(chan struct{})
	p.worker, p.Reports, p.listening = worker, reports, listening
	go func() {
		defer close(listening)
		defer in.Close()
		reports.Listen(in)
	}()
	return nil
}

// ReplaceWorker stops the worker and starts one with other settings, whose reports
// and meter are in the place of the other one's. No context of Guard may be in
// use.
func (p *Platform) ReplaceWorker(settings WorkerSettings) error {
	if err := p.stopWorker(); err != nil {
		return err
	}
	if err := p.startWorker(settings); err != nil {
		return err
	}
	p.measureProcesses()
	return nil
}

func (p *Platform) stopWorker() error {
	if p.worker == nil {
		return nil
	}
	err := p.worker.Stop(patience)
	<-p.listening
	return err
}
