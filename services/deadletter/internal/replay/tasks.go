package replay

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// maxAsked bounds the tasks of one question to the gateway.
	maxAsked = 500
	// askers are the questions at once to a gateway that answers one at a time.
	askers = 16
)

// tasksOf are tasks as the gateway knows them, by their ids; those that it does not know
// are not there. Errors: [ErrGateway], the context's.
func (r *Replayer) tasksOf(ctx context.Context, ids []string) (map[string]*taskv1.Task, error) {
	known := make(map[string]*taskv1.Task, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), maxAsked)
		if err := r.askFor(ctx, ids[:n], known); err != nil {
			return nil, err
		}
		ids = ids[n:]
	}
	return known, nil
}

// askFor asks with as many calls as the size of the answers takes.
func (r *Replayer) askFor(ctx context.Context, ids []string, known map[string]*taskv1.Task) error {
	for len(ids) > 0 {
		answer, err := r.askOnce(ctx, ids, known)
		if err != nil {
			return err
		}
		if len(answer.GetUnreadTaskIds()) >= len(ids) {
			return fmt.Errorf("%w: none of %d tasks was read", ErrGateway, len(ids))
		}
		ids = answer.GetUnreadTaskIds()
	}
	return nil
}

// askOnce answers nil if all were asked for in another way.
func (r *Replayer) askOnce(ctx context.Context, ids []string, known map[string]*taskv1.Task) (*taskv1.BatchGetTasksResponse, error) {
	ask, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	answer, err := r.cfg.Tasks.BatchGetTasks(ask, &taskv1.BatchGetTasksRequest{TaskIds: ids})
	switch {
	case err == nil:
		for _, t := range answer.Tasks {
			known[t.TaskId] = t
		}
		return answer, nil
	case status.Code(err) == codes.Unimplemented:
		return nil, r.askOneByOne(ctx, ids, known)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: ask for %d tasks: %w", ErrGateway, len(ids), err)
}

// askOneByOne asks a gateway of an earlier version.
func (r *Replayer) askOneByOne(ctx context.Context, ids []string, known map[string]*taskv1.Task) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askers)
	for _, id := range ids {
		group.Go(func() error {
			t, err := r.taskOf(ctx, id)
			if err != nil || t == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			known[id] = t
			return nil
		})
	}
	return group.Wait()
}

// Reach says whether the gateway answers now. Errors: [ErrGateway], the context's.
func (r *Replayer) Reach(ctx context.Context, id string) error {
	_, err := r.tasksOf(ctx, []string{id})
	return err
}
