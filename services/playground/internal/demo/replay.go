//go:build unix

package demo

import (
	"context"
	"fmt"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const replayReason = "what was unavailable is back"

// replay begins the next run and watches the dead letter until it is RESOLVED.
func (s *session) replay(ctx context.Context, dead *deadletterv1.DeadLetter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which ends the stream
	stream, err := s.dead.WatchDeadLetters(ctx, &deadletterv1.WatchDeadLettersRequest{
		Filter: fmt.Sprintf("task_id = %q", dead.GetTaskId()),
	})
	if err != nil {
		return fmt.Errorf("watch dead letter %s: %w", dead.GetDeadLetterId(), err)
	}
	// The first message says from where on the watch sees everything.
	if _, err := stream.Recv(); err != nil {
		return fmt.Errorf("watch dead letter %s: %w", dead.GetDeadLetterId(), err)
	}
	if err := s.beginReplay(ctx, dead); err != nil {
		return err
	}
	for {
		update, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("watch dead letter %s: %w", dead.GetDeadLetterId(), err)
		}
		if resolved, err := s.showReplay(update.GetDeadLetter()); resolved || err != nil {
			return err
		}
	}
}

// beginReplay calls again while the service says that nothing was begun.
func (s *session) beginReplay(ctx context.Context, dead *deadletterv1.DeadLetter) error {
	for {
		begun, err := s.dead.ReplayDeadLetter(ctx, &deadletterv1.ReplayDeadLetterRequest{
			DeadLetterId: dead.GetDeadLetterId(), Reason: replayReason, Etag: dead.GetEtag(),
		})
		if err == nil {
			s.print.Line("replayed", "as run %d, because %s", begun.GetRun(), replayReason)
			return checkBegun(dead, begun)
		}
		err = fmt.Errorf("replay dead letter %s: %w", dead.GetDeadLetterId(), err)
		if !notBegun(err) || !s.again(ctx, err) {
			return err
		}
	}
}

func checkBegun(dead *deadletterv1.DeadLetter, begun *deadletterv1.ReplayDeadLetterResponse) error {
	if want := dead.GetRun() + 1; begun.GetRun() != want {
		return fmt.Errorf("the replay of dead letter %s is run %d, not %d", dead.GetDeadLetterId(), begun.GetRun(), want)
	}
	return nil
}

// notBegun says whether the service vouches that it began no replay.
func notBegun(err error) bool {
	switch apiReason(err) {
	case taskv1.ErrorReason_ERROR_REASON_GATEWAY_UNAVAILABLE, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE:
		return true
	default:
		return false
	}
}

// showReplay says whether the replay has ended well. That it has ended otherwise
// is an error.
func (s *session) showReplay(dead *deadletterv1.DeadLetter) (resolved bool, err error) {
	s.print.Line(deadLetterStateName(dead.GetState()), "the dead letter")
	switch dead.GetState() {
	case deadletterv1.DeadLetterState_DEAD_LETTER_STATE_IN_REPLAY:
		return false, nil
	case deadletterv1.DeadLetterState_DEAD_LETTER_STATE_RESOLVED:
		return true, nil
	default:
		return false, fmt.Errorf("dead letter %s is %s after its replay, not RESOLVED: run %d, %s",
			dead.GetDeadLetterId(), deadLetterStateName(dead.GetState()), dead.GetRun(), describeFailure(dead.GetFailure()))
	}
}
