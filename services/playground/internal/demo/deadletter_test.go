//go:build unix

package demo

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	stateOpen     = deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN
	stateInReplay = deadletterv1.DeadLetterState_DEAD_LETTER_STATE_IN_REPLAY
	stateResolved = deadletterv1.DeadLetterState_DEAD_LETTER_STATE_RESOLVED
)

// graveyard has one dead letter, which comes in late.
type graveyard struct {
	deadletterv1.UnimplementedDeadLetterServiceServer
	dead *deadletterv1.DeadLetter
	// others are listed beside it.
	others []*deadletterv1.DeadLetter
	run    int32
	// states are what a watch shows once the replay has begun.
	states []deadletterv1.DeadLetterState
	begun  chan struct{}

	lists, replays atomic.Int32
	// refusal is the reason why the first replay is refused, if it is.
	refusal string
}

func (g *graveyard) ListDeadLetters(_ context.Context, r *deadletterv1.ListDeadLettersRequest) (*deadletterv1.ListDeadLettersResponse, error) {
	if r.GetFilter() != deadFilter {
		return nil, status.Error(codes.InvalidArgument, "another filter")
	}
	if g.lists.Add(1) == 1 {
		return &deadletterv1.ListDeadLettersResponse{}, nil
	}
	return &deadletterv1.ListDeadLettersResponse{DeadLetters: append(g.others, g.dead)}, nil
}

func (g *graveyard) GetDeadLetter(context.Context, *deadletterv1.GetDeadLetterRequest) (*deadletterv1.GetDeadLetterResponse, error) {
	return &deadletterv1.GetDeadLetterResponse{DeadLetter: g.dead}, nil
}

func (g *graveyard) ReplayDeadLetter(_ context.Context, r *deadletterv1.ReplayDeadLetterRequest) (*deadletterv1.ReplayDeadLetterResponse, error) {
	if r.GetReason() == "" || r.GetEtag() != g.dead.GetEtag() {
		return nil, status.Error(codes.Aborted, "without reason or etag")
	}
	if g.replays.Add(1) == 1 && g.refusal != "" {
		return nil, refused(g.refusal)
	}
	close(g.begun)
	return &deadletterv1.ReplayDeadLetterResponse{Run: g.run}, nil
}

func (g *graveyard) WatchDeadLetters(_ *deadletterv1.WatchDeadLettersRequest, stream grpc.ServerStreamingServer[deadletterv1.WatchDeadLettersResponse]) error {
	if err := stream.Send(&deadletterv1.WatchDeadLettersResponse{ResumeToken: "now"}); err != nil {
		return err
	}
	select {
	case <-g.begun:
	case <-stream.Context().Done():
		return nil
	}
	for _, state := range g.states {
		dead := proto.CloneOf(g.dead)
		dead.State = state
		if err := stream.Send(&deadletterv1.WatchDeadLettersResponse{DeadLetter: dead}); err != nil {
			return err
		}
	}
	return status.Error(codes.Unavailable, "stopping")
}

// rightGraveyard is what the step wants to see.
func rightGraveyard() *graveyard {
	return &graveyard{
		dead: &deadletterv1.DeadLetter{
			DeadLetterId: "id", TaskId: "id", State: stateOpen, Run: 1, Etag: "1", Cause: taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED,
			Failure:     &taskv1.Failure{Code: int32(codes.Unavailable), Message: "call 2"},
			Occurrences: []*deadletterv1.Occurrence{{Run: 1, Attempts: tried(attempt{1, 1, false}, attempt{1, 2, false})}},
		},
		run: 2, states: []deadletterv1.DeadLetterState{stateInReplay, stateResolved}, begun: make(chan struct{}),
	}
}

// mortal is a gateway whose task died, and SUCCEEDED in its replay.
type mortal struct {
	*gateway
	grave *graveyard
	after *taskv1.Task
}

// SubmitTask keeps what was submitted for the dead letter to show.
func (m *mortal) SubmitTask(ctx context.Context, r *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	if m.grave.dead.Message == nil {
		m.grave.dead.Message = &deadletterv1.DeadMessage{Body: r.GetPayload().GetValue()}
	}
	return m.gateway.SubmitTask(ctx, r)
}

func (m *mortal) GetTask(ctx context.Context, r *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	select {
	case <-m.grave.begun:
		return &taskv1.GetTaskResponse{Task: m.after}, nil
	default:
		return m.gateway.GetTask(ctx, r)
	}
}

func TestTheDeadLetterStepChecksTheDeadLetter(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*mortal)
		words string
	}{
		"right":                   {func(*mortal) {}, ""},
		"replayed at the 2nd try": {func(m *mortal) { m.grave.refusal = "GATEWAY_UNAVAILABLE" }, ""},
		"replayed by another one": {func(m *mortal) { m.grave.refusal = "DEAD_LETTER_NOT_OPEN" }, "refused"},
		"died of something else":  {func(m *mortal) { m.task.Cause = taskv1.Cause_CAUSE_EXPIRED }, "cause EXPIRED, not ATTEMPTS_EXHAUSTED"},
		"another is found too":    {func(m *mortal) { m.grave.others = []*deadletterv1.DeadLetter{{}} }, "but 2"},
		"another is found":        {func(m *mortal) { m.grave.dead.TaskId = "other" }, "does not find"},
		"it is not OPEN":          {func(m *mortal) { m.grave.dead.State = stateResolved }, "is RESOLVED, not OPEN"},
		"its failure is another":  {func(m *mortal) { m.grave.dead.Failure.Message = "call 1" }, `its task UNAVAILABLE "call 2"`},
		"without occurrence":      {func(m *mortal) { m.grave.dead.Occurrences = nil }, "has 0 occurrences"},
		"an attempt is missing":   {func(m *mortal) { o := m.grave.dead.Occurrences[0]; o.Attempts = o.Attempts[1:] }, "the attempts on record"},
		"another payload":         {func(m *mortal) { m.grave.dead.Message = &deadletterv1.DeadMessage{Body: []byte{1}} }, "payload"},
		"another run":             {func(m *mortal) { m.grave.run = 3 }, "is run 3, not 2"},
		"the replay failed":       {func(m *mortal) { m.grave.states[1] = stateOpen }, "is OPEN after its replay"},
		"the replay did not end":  {func(m *mortal) { m.grave.states = m.grave.states[:1] }, "stopping"},
		"the task did not":        {func(m *mortal) { m.after = m.task }, "is DEAD_LETTERED"},
		"called too seldom":       {func(m *mortal) { m.after = succeeded(t, 3) }, "called 3 times, not 4"},
		"the replay left nothing": {func(m *mortal) { m.attempts = m.attempts[:2] }, "the attempts on record"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			grave := rightGraveyard()
			m := &mortal{grave: grave, after: succeeded(t, 4), gateway: &gateway{
				events: history(1, 2, 3),
				task: &taskv1.Task{
					TaskId: "id", State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED,
					Cause: taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, Failure: proto.CloneOf(grave.dead.GetFailure()),
				},
				attempts: tried(attempt{1, 1, false}, attempt{1, 2, false}, attempt{2, 1, false}, attempt{2, 2, true}),
			}}
			test.spoil(m)
			s, out := sessionWithDead(t, m, grave)
			requireWords(t, s.deadLetter(t.Context()), test.words)
			if test.words == "" {
				require.Contains(t, out.String(), "its dead letter is RESOLVED")
			}
		})
	}
}

// A dead letter that does not come in ends the step with its time.
func TestFindEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, _ := sessionWithDead(t, &gateway{}, rightGraveyard())
	require.ErrorContains(t, s.find(ctx, &taskv1.Task{TaskId: "id"}), "task id did not come in as a dead letter")
}
