package intake

import (
	"log/slog"

	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// logOf is for lines about what has come in. They have nothing of its failure's text,
// which is the handler's.
func (i *Intake) logOf(a *store.Arrival) *slog.Logger {
	o := &a.Occurrence
	return telemetry.TaskOfLog{ID: a.ID, Type: a.Type, Run: o.Run, Attempt: o.Attempt, TraceID: o.TraceID}.Log(i.log)
}
