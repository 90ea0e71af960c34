package api

import (
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// why stands for the reason that a person gives.
const why = "WHY"

// actions are the calls that can be made.
func (s *situation) actions() []string {
	id := s.task.ID
	var out []string
	add := func(is bool, action string) {
		if is {
			out = append(out, action)
		}
	}
	state := s.task.State
	add(state == task.StateDeadLettered, callTo("look at the dead letter",
		deadletterv1.DeadLetterService_GetDeadLetter_FullMethodName, &deadletterv1.GetDeadLetterRequest{DeadLetterId: id}))
	add(state == task.StateDeadLettered, callTo("run it again, once what made it fail is mended",
		deadletterv1.DeadLetterService_ReplayDeadLetter_FullMethodName, &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: why}))
	add(state == task.StateDeadLettered, callTo("give it up for good",
		deadletterv1.DeadLetterService_DiscardDeadLetter_FullMethodName, &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: id, Reason: why}))
	if state.Terminal() {
		return out
	}
	add(s.paused(), callTo("let its type run again",
		adminv1.AdminService_ResumeTaskType_FullMethodName, &adminv1.ResumeTaskTypeRequest{TaskType: s.task.Type, Reason: why}))
	add(s.noWorker() != nil || s.noneTakes() != nil, callTo("start a worker that serves "+s.task.Type+", and see that it is there",
		adminv1.AdminService_ListWorkers_FullMethodName, &adminv1.ListWorkersRequest{TaskType: s.task.Type}))
	add(s.busy() != nil, callTo("give each worker more slots", adminv1.AdminService_UpdateConcurrency_FullMethodName,
		&adminv1.UpdateConcurrencyRequest{TaskType: s.task.Type, Setting: &adminv1.UpdateConcurrencyRequest_Concurrency{Concurrency: int32(s.moreSlots())}, Reason: why}))
	add(state == task.StateScheduled, callTo("run it now",
		taskv1.TaskService_RunTaskNow_FullMethodName, &taskv1.RunTaskNowRequest{TaskId: id, Reason: why}))
	if r := s.last(); state == task.StateRunning && r != nil {
		add(true, callTo("see what its worker does", adminv1.AdminService_GetWorker_FullMethodName, &adminv1.GetWorkerRequest{WorkerId: r.WorkerID}))
	}
	add(s.cancellation == nil, callTo("cancel it", taskv1.TaskService_CancelTask_FullMethodName, &taskv1.CancelTaskRequest{TaskId: id, Reason: why}))
	return out
}

// moreSlots is twice what the best equipped worker has.
func (s *situation) moreSlots() (n int) {
	for _, c := range s.fleet.taking() {
		n = max(n, 2*c.slots)
	}
	return n
}
