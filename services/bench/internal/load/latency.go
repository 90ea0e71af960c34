package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Rate is how many tasks per second are submitted to measure latencies.
const Rate = 100

// Latency is how long parts of one task's life took, all from just before its
// submission.
type Latency struct {
	// Accepted is until the submission was answered, Started until the handler was
	// called, Seen until a watcher was told of the end.
	Accepted, Started, Seen time.Duration
}

// Latencies submits [Rate] tasks per second for a time, each with a watcher.
func (l *Load) Latencies(ctx context.Context, during time.Duration) ([]Latency, error) {
	request, err := submission(l.next(0))
	if err != nil {
		return nil, err
	}
	found := make([]Latency, max(int(during.Seconds()*Rate), 1))
	err = paced(ctx, len(found), time.Second/Rate, func(ctx context.Context, i int) (err error) {
		found[i], err = l.follow(ctx, l.Tasks[i%len(l.Tasks)], request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// follow submits one task and watches it from the first event on.
func (l *Load) follow(ctx context.Context, tasks taskv1.TaskServiceClient, request *taskv1.SubmitTaskRequest) (Latency, error) {
	begin := time.Now()
	answer, err := tasks.SubmitTask(ctx, request)
	if err != nil {
		return Latency{}, fmt.Errorf("submit a task: %w", err)
	}
	accepted, task := time.Since(begin), answer.GetTask()
	if err := awaitSuccess(ctx, tasks, task); err != nil {
		return Latency{}, fmt.Errorf("watch task %s: %w", task.GetTaskId(), err)
	}
	seen := time.Since(begin)
	started, err := l.Reports.AwaitStart(ctx, task.GetTaskId())
	if err != nil {
		return Latency{}, err
	}
	// The worker's process has no other clock in common with this one.
	return Latency{Accepted: accepted, Started: started.Sub(begin.Round(0)), Seen: seen}, nil
}

// awaitSuccess watches a task until it has succeeded, and resumes the watch where
// it has to.
func awaitSuccess(ctx context.Context, tasks taskv1.TaskServiceClient, task *taskv1.Task) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	err := watch(ctx, tasks, task)
	for status.Code(err) == codes.Unavailable && pause(ctx) {
		err = watch(ctx, tasks, task)
	}
	return err
}

func watch(ctx context.Context, tasks taskv1.TaskServiceClient, task *taskv1.Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates, err := tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{TaskId: task.GetTaskId(), ResumeToken: task.GetResumeToken()})
	if err != nil {
		return err
	}
	for {
		update, err := updates.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the watch ended before the task")
		}
		if err != nil {
			return err
		}
		if update.GetEvent().GetState() == taskv1.TaskState_TASK_STATE_SUCCEEDED {
			return nil
		}
	}
}
