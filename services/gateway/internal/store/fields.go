package store

import (
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// The fields of filters.
const (
	FieldTaskID          filter.Field = "task_id"
	FieldType            filter.Field = "type"
	FieldQueue           filter.Field = "queue"
	FieldState           filter.Field = "state"
	FieldCause           filter.Field = "cause"
	FieldCode            filter.Field = "code"
	FieldRun             filter.Field = "run"
	FieldAttempt         filter.Field = "attempt"
	FieldPriority        filter.Field = "priority"
	FieldTraceID         filter.Field = "trace_id"
	FieldCreateTime      filter.Field = "create_time"
	FieldStartTime       filter.Field = "start_time"
	FieldEndTime         filter.Field = "end_time"
	FieldUpdateTime      filter.Field = "update_time"
	FieldExpireTime      filter.Field = "expire_time"
	FieldNextAttemptTime filter.Field = "next_attempt_time"
	FieldScheduleTime    filter.Field = "schedule_time"
	FieldScheduleID      filter.Field = "schedule_id"
	// FieldAttemptCode is of those failures that a started execution ended with,
	// FieldAttemptWorkerID of the workers that started one, FieldAttemptTraceID of the
	// traces that one belongs to.
	FieldAttemptCode     filter.Field = "attempt.code"
	FieldAttemptWorkerID filter.Field = "attempt.worker_id"
	FieldAttemptTraceID  filter.Field = "attempt.trace_id"
)

// Fields is what filters of tasks may ask for.
var Fields = filter.Schema{
	FieldTaskID: filter.IDs(), FieldType: filter.Texts(), FieldQueue: filter.Texts(),
	FieldState: stateNames(), FieldCause: filter.Causes(), FieldCode: filter.Codes(),
	FieldRun: filter.Numbers(nil), FieldAttempt: filter.Numbers(nil),
	FieldPriority: filter.Numbers(map[string]int{
		"LOW": task.PriorityLow, "NORMAL": task.PriorityNormal, "HIGH": task.PriorityHigh, "CRITICAL": task.PriorityCritical,
	}),
	FieldTraceID: filter.Texts(), FieldScheduleID: filter.Texts(),
	FieldCreateTime: filter.Times(), FieldStartTime: filter.Times(), FieldEndTime: filter.Times(),
	FieldUpdateTime: filter.Times(), FieldExpireTime: filter.Times(), FieldNextAttemptTime: filter.Times(),
	FieldScheduleTime: filter.Times(),
	FieldAttemptCode:  filter.Codes(), FieldAttemptWorkerID: filter.Texts(), FieldAttemptTraceID: filter.Texts(),
	filter.FieldLabels: filter.Labels(),
}

func stateNames() filter.Values {
	names := map[string]int{}
	for s := task.StateScheduled; s <= task.StateDeadLettered; s++ {
		names[s.String()] = int(s)
	}
	return filter.Names("TASK_STATE_", names)
}
