package gateway

import (
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/admin"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/later"
	"github.com/warrenmq/warren/services/gateway/internal/schedules"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// makeLater makes what submits tasks when their time has come. The task service makes
// tasks for both, and tells the loop of those that it keeps.
func (g *gateway) makeLater(hub *watch.Hub) {
	g.later = later.New(later.Config{
		Store: g.store, Publisher: api.Due{TaskService: g.tasks, Parker: g.publisher}, Clock: g.clock, Logger: g.cfg.Logger,
	})
	g.schedules = schedules.New(schedules.Config{
		Store: g.store, Maker: g.tasks, Changed: hub.Wake, Later: g.later.Wake, Clock: g.clock, Logger: g.cfg.Logger,
		MeterProvider: g.cfg.MeterProvider,
	})
}

// wakeLater has the loop know of a task for later. No task is kept before the loop is
// made.
func (g *gateway) wakeLater(at time.Time) { g.later.Wake(at) }

// adminSchedules is what operators need of schedules.
func (g *gateway) adminSchedules() admin.Schedules {
	return admin.Schedules{Store: g.store, Engine: g.schedules, CheckTask: g.tasks.CheckTask}
}
