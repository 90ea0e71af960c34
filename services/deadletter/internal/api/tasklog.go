package api

import (
	"log/slog"

	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// logOf is for lines about a dead letter's task, in a run of it.
func logOf(log *slog.Logger, d *store.DeadLetter, run int) *slog.Logger {
	return telemetry.TaskOfLog{ID: d.ID, Type: d.Type, Run: run}.Log(log)
}
