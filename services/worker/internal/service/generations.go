package service

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/warrenmq/warren/services/worker/internal/discovery"
)

// runner is what of a [worker.Worker] is used here.
type runner interface {
	Run(ctx context.Context) error
	Pause(reason string)
	Resume()
}

// generations runs one worker after another, each for one schema of the target: a
// worker's services can't change while it runs. The next one starts when the one
// before has drained.
type generations struct {
	make func(*discovery.Schema) (runner, error)
	log  *slog.Logger

	view    view
	current *generation
}

// generation is a worker that runs.
type generation struct {
	runner
	id     string
	cancel context.CancelFunc
	// draining: it was told to end because the target has changed.
	draining bool
	ended    chan error
}

// run follows the views until ctx ends, or a gateway asks the worker to drain, and
// the last worker has.
func (g *generations) run(ctx context.Context, views <-chan view) error {
	for {
		select {
		case g.view = <-views:
			if err := g.adapt(ctx); err != nil {
				return err
			}
		case err := <-g.ended():
			if err != nil || ctx.Err() != nil || !g.current.draining {
				return err // it was asked to drain by a gateway, if there is none
			}
			g.current = nil
			if err := g.adapt(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return g.stop()
		}
	}
}

// ended has the error with which the worker ended.
func (g *generations) ended() <-chan error {
	if g.current == nil {
		return nil
	}
	return g.current.ended
}

// adapt makes what runs fit the view.
func (g *generations) adapt(ctx context.Context) error {
	switch {
	case g.view.schema == nil:
		g.log.WarnContext(ctx, "waiting for the target", "for", g.view.trouble)
		return nil
	case g.current == nil:
		return g.start(ctx)
	case g.current.id != g.view.schema.ID() && !g.current.draining:
		g.current.draining = true
		g.log.InfoContext(ctx, "the target's services have changed: the tasks that run may finish, then a worker for the new ones starts", "schema", g.view.schema.Digest())
		g.current.cancel()
	}
	g.applyTrouble()
	return nil
}

func (g *generations) applyTrouble() {
	if g.view.trouble != nil {
		g.current.Pause(g.view.trouble.Error())
		return
	}
	g.current.Resume()
}

func (g *generations) start(ctx context.Context) error {
	w, err := g.make(g.view.schema)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	next := &generation{runner: w, id: g.view.schema.ID(), cancel: cancel, ended: make(chan error, 1)}
	g.current = next
	g.applyTrouble()
	go func() {
		defer cancel()
		if err := w.Run(ctx); err != nil {
			next.ended <- fmt.Errorf("run the worker: %w", err)
			return
		}
		next.ended <- nil
	}()
	return nil
}

// stop waits for the worker, which drains.
func (g *generations) stop() error {
	if g.current == nil {
		return nil
	}
	g.current.cancel()
	return <-g.current.ended
}
