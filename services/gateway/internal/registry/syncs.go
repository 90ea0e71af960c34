package registry

import (
	"context"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// askSync hands a SyncRequest over to Run and never blocks. It drops one of a
// worker whose last one is not answered yet, and any while too many wait: workers
// repeat them.
func (r *Registry) askSync(request *brokerv1.WorkerRequest) {
	id := request.Worker.WorkerId
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.syncing[id] {
		return
	}
	select {
	case r.syncs <- request:
		r.syncing[id] = true
	default:
		r.full.Do(func() {
			r.cfg.Logger.Warn("too many workers wait to be told what is cancelled, they have to ask again", "waiting", maxSyncs)
		})
	}
}

// serveSyncs answers one SyncRequest after the other, until ctx ends.
func (r *Registry) serveSyncs(ctx context.Context) {
	for {
		select {
		case request := <-r.syncs:
			r.serveSync(ctx, request)
		case <-ctx.Done():
			return
		}
	}
}

func (r *Registry) serveSync(ctx context.Context, request *brokerv1.WorkerRequest) {
	id := request.Worker.WorkerId
	err := r.cfg.Control.Sync(ctx, request)
	if err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("a worker can't be told now what is cancelled, it has to ask again", "worker_id", id, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.syncing, id)
}
