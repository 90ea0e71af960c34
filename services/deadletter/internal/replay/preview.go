package replay

import (
	"context"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Preview is the verdict on one dead letter.
type Preview struct {
	DeadLetterID string
	Verdict      store.Verdict
	// Message says why, for people.
	Message string
}

// Preview says what would become of members in a replay with a plan, without changing
// anything; those that are gone are left out. Errors: [ErrGateway], the store's.
func (r *Replayer) Preview(ctx context.Context, members []store.Member, p store.Plan) ([]Preview, error) {
	var out []Preview
	served := map[string]bool{}
	for len(members) > 0 {
		all, err := r.cfg.Store.Candidates(ctx, members)
		if err != nil {
			return nil, err
		}
		judged, err := r.judgeAll(ctx, all, &p, time.Now().Add(p.Delay))
		if err != nil {
			return nil, err
		}
		for i := range all {
			x := Preview{all[i].DeadLetter.ID, judged[i].verdict, judged[i].message}
			if x.Verdict == store.VerdictReady && !r.served(ctx, all[i].DeadLetter.Type, served) {
				x.Verdict, x.Message = store.VerdictNoWorkers, "no worker of its task type is alive; its task would wait for one"
			}
			if x.DeadLetterID != "" {
				out = append(out, x)
			}
		}
		members = members[len(all):]
	}
	return out, nil
}

// served says whether a task type has a worker, or that can't be told.
func (r *Replayer) served(ctx context.Context, taskType string, known map[string]bool) bool {
	if has, ok := known[taskType]; ok || r.cfg.Workers == nil {
		return has || !ok
	}
	ask, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	answer, err := r.cfg.Workers.ListWorkers(ask, &adminv1.ListWorkersRequest{TaskType: taskType, PageSize: 1})
	known[taskType] = err != nil || len(answer.GetWorkers()) > 0
	return known[taskType]
}
