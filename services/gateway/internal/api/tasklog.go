package api

import (
	"log/slog"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// logOf is for lines about a task; their trace is that of the call which is served.
func logOf(log *slog.Logger, t *task.Task) *slog.Logger {
	return telemetry.TaskOfLog{ID: t.ID, Type: t.Type, Run: t.Run, Attempt: t.Attempt}.Log(log)
}
