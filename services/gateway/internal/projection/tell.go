package projection

import (
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// tell wakes those who wait for tasks that have changed. Who waits for the end of one gets
// the event that decided it, if that is among the events which were applied.
func (p *Projection) tell(changes []store.Change, events []task.Event) {
	var ended map[string]store.Change
	for _, c := range changes {
		switch {
		case !c.State.Terminal():
			p.hub.News(c.TaskID)
		case !p.hub.Awaited(c.TaskID):
			// Whoever has begun to wait since then is woken, and reads it.
			p.hub.Wake(c.TaskID)
		default:
			if ended == nil {
				ended = map[string]store.Change{}
			}
			ended[c.TaskID] = c
		}
	}
	if ended == nil {
		return
	}
	for i := range events {
		if c, ok := ended[events[i].TaskID]; ok && events[i].Key == c.Decided {
			// A copy: who answers slowly keeps the one event, and not all of the batch.
			e := events[i]
			p.hub.Ended(c.TaskID, watch.Outcome{State: c.State, Event: &e})
			delete(ended, c.TaskID)
		}
	}
	for id := range ended {
		p.hub.Wake(id)
	}
}
