package replay

import (
	"log/slog"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// logOf is for lines about a task's run.
func (r *Replayer) logOf(id, taskType string, run int) *slog.Logger {
	return telemetry.TaskOfLog{ID: id, Type: taskType, Run: run}.Log(r.log)
}
