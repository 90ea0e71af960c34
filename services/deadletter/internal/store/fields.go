package store

import "github.com/warrenmq/warren/pkg/filter"

// The fields of filters.
const (
	FieldState           filter.Field = "state"
	FieldCause           filter.Field = "cause"
	FieldCode            filter.Field = "code"
	FieldType            filter.Field = "type"
	FieldReason          filter.Field = "reason"
	FieldMessage         filter.Field = "message"
	FieldWorkerID        filter.Field = "worker_id"
	FieldTraceID         filter.Field = "trace_id"
	FieldTaskID          filter.Field = "task_id"
	FieldRun             filter.Field = "run"
	FieldAttempt         filter.Field = "attempt"
	FieldOccurrenceCount filter.Field = "occurrence_count"
	FieldCreateTime      filter.Field = "create_time"
	FieldDeadTime        filter.Field = "dead_time"
	FieldUpdateTime      filter.Field = "update_time"
	FieldGroupID         filter.Field = "group_id"
	FieldWorkerVersion   filter.Field = "worker_version"
	FieldQueue           filter.Field = "queue"
	FieldReplayCount     filter.Field = "replay_count"
	FieldHeld            filter.Field = "held"
)

// Fields is what filters of dead letters may ask for.
var Fields = filter.Schema{
	FieldState: filter.Names("DEAD_LETTER_STATE_", map[string]int{
		StateOpen.String(): int(StateOpen), StateInReplay.String(): int(StateInReplay),
		StateResolved.String(): int(StateResolved), StateDiscarded.String(): int(StateDiscarded),
		StateQuarantined.String(): int(StateQuarantined), StatePurged.String(): int(StatePurged),
	}),
	FieldCause: filter.Causes(), FieldCode: filter.Codes(),
	FieldType: filter.Texts(), FieldReason: filter.Texts(), FieldMessage: filter.Texts(),
	FieldWorkerID: filter.Texts(), FieldTraceID: filter.Texts(), FieldTaskID: filter.IDs(),
	FieldRun: filter.Numbers(nil), FieldAttempt: filter.Numbers(nil), FieldOccurrenceCount: filter.Numbers(nil),
	FieldCreateTime: filter.Times(), FieldDeadTime: filter.Times(), FieldUpdateTime: filter.Times(),
	FieldGroupID: filter.Texts(), FieldWorkerVersion: filter.Texts(), FieldQueue: filter.Texts(),
	FieldReplayCount: filter.Numbers(nil), FieldHeld: filter.Numbers(map[string]int{"false": 0, "true": 1}),
	filter.FieldLabels: filter.Labels(),
}
