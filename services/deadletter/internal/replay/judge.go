package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/grpc"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Checker checks payloads against their task types as those are now.
type Checker interface {
	// Check says what is wrong with a payload by a [*catalogue.PayloadError]. Any other
	// error is that it can't be told.
	Check(ctx context.Context, taskType string, payload []byte) error
}

// Workers is the gateway's knowledge of workers.
type Workers interface {
	ListWorkers(ctx context.Context, r *adminv1.ListWorkersRequest, opts ...grpc.CallOption) (*adminv1.ListWorkersResponse, error)
}

// judgement is what would become of a dead letter, and of what its run is made.
type judgement struct {
	verdict store.Verdict
	message string
	// run is that to begin, or that has ended well.
	run      int
	revision int
	expire   time.Time
	// letter is the message to publish, without its copy and trace; died is the trace
	// of the run that died.
	letter *broker.TaskMessage
	died   map[string]string
}

// standing is the verdict on a dead letter that must be OPEN, as it was when it was
// selected, and free of holds; READY if it is all of that.
func (r *Replayer) standing(ctx context.Context, c *store.Candidate) (store.Verdict, string, error) {
	d := &c.DeadLetter
	switch {
	case d.ID == "":
		return store.VerdictWrongState, "it is gone", nil
	case d.State == store.StateInReplay:
		holder, err := r.cfg.Store.Holder(ctx, d.ID)
		return store.VerdictInReplay, holder.String(), err
	case d.State == store.StateQuarantined:
		return store.VerdictQuarantined, fmt.Sprintf("it was replayed %d times; restore it first", d.ReplayCount), nil
	case d.State != store.StateOpen:
		return store.VerdictWrongState, "it is " + d.State.String(), nil
	case d.Foreign:
		return store.VerdictNoTask, "it is a message that is no task; discard it", nil
	case d.OnHold || c.TypeHeld:
		return store.VerdictHeld, "a hold keeps it as it is; release it first", nil
	case d.Etag != strconv.FormatInt(c.Version, 10):
		return store.VerdictChanged, "it has changed since it was selected; look at it again", nil
	}
	return store.VerdictReady, "", nil
}

// judge is the verdict on a dead letter whose standing is READY, and whose task the
// gateway knows as t, nil for not at all.
func (r *Replayer) judge(ctx context.Context, c *store.Candidate, p *store.Plan, t *taskv1.Task, now time.Time) (judgement, error) {
	d := &c.DeadLetter
	last := max(d.Run, c.Begun, int(t.GetRun()))
	switch {
	case t != nil && int(t.Run) >= d.Run && endedWell(t) != 0:
		return judgement{
			verdict: store.VerdictAlreadySucceeded, run: int(t.Run), message: "asked for a replay, the gateway said " + stateName(t),
		}, nil
	case t != nil && int(t.Run) > max(d.Run, c.Begun) && t.State != taskv1.TaskState_TASK_STATE_DEAD_LETTERED:
		return judgement{verdict: store.VerdictInReplay, message: fmt.Sprintf("its run %d is %s; wait for its end", t.Run, stateName(t))}, nil
	case last >= math.MaxInt32:
		return judgement{verdict: store.VerdictNotReplayable, message: "no run is left"}, nil
	}
	template, err := decodeTemplate(d)
	letter, died, rebuildErr := rebuild(d, last+1, now)
	if err != nil || rebuildErr != nil {
		return judgement{verdict: store.VerdictNotReplayable, message: "what was kept of its message can't be read"}, nil //nolint:nilerr // the verdict says it
	}
	j := judgement{verdict: store.VerdictReady, run: last + 1, expire: template.expiry(p.Expiry, now), letter: letter, died: died}
	if !j.expire.IsZero() && !j.expire.After(now) {
		return judgement{verdict: store.VerdictExpired, message: "it expired at " + j.expire.Format(time.RFC3339)}, nil
	}
	return j, r.judgePayload(ctx, d, p, &j)
}

// judgePayload finds the payload that runs, and checks it.
func (r *Replayer) judgePayload(ctx context.Context, d *store.DeadLetter, p *store.Plan, j *judgement) error {
	j.revision = p.Revision
	if j.revision == 0 {
		j.revision = d.Revision
	}
	if j.revision > d.Revision {
		*j = judgement{verdict: store.VerdictNoRevision, message: fmt.Sprintf("its last payload revision is %d", d.Revision)}
		return nil
	}
	err := r.revise(ctx, d, j.revision)
	if errors.Is(err, errNoRevision) {
		*j = judgement{verdict: store.VerdictNoRevision, message: err.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	j.letter.Payload = d.Message.Body
	if r.cfg.Checker == nil {
		return nil
	}
	var wrong *catalogue.PayloadError
	if err := r.cfg.Checker.Check(ctx, d.Type, j.letter.Payload); errors.As(err, &wrong) {
		*j = judgement{verdict: store.VerdictSchemaIncompatible, message: wrong.Error()}
	}
	return nil
}

// judgeAll is the verdict on each candidate. Errors: [ErrGateway], the store's.
func (r *Replayer) judgeAll(ctx context.Context, all []store.Candidate, p *store.Plan, now time.Time) ([]judgement, error) {
	out := make([]judgement, len(all))
	var ids []string
	for i := range all {
		var err error
		if out[i].verdict, out[i].message, err = r.standing(ctx, &all[i]); err != nil {
			return nil, err
		}
		if out[i].verdict == store.VerdictReady {
			ids = append(ids, all[i].DeadLetter.ID)
		}
	}
	known, err := r.tasksOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if out[i].verdict != store.VerdictReady {
			continue
		}
		if out[i], err = r.judge(ctx, &all[i], p, known[all[i].DeadLetter.ID], now); err != nil {
			return nil, err
		}
	}
	return out, nil
}
