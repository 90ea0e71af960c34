package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// keyWindow is how long an idempotency key answers with its task.
	keyWindow = 24 * time.Hour
	// firstPoll and lastPoll bound the time between two looks at a key that another
	// process is submitting with; one of this process says when it is done.
	firstPoll, lastPoll = 50 * time.Millisecond, 500 * time.Millisecond
	// maxClaim bounds claiming keys: what it takes is missing from their lease.
	maxClaim = 3 * time.Second
	// maxSettle bounds the end of a claim: the answer waits for it.
	maxSettle = 3 * time.Second
)

// submissionKey is the idempotency key of a submission, with the digest of what is
// to be the same in all that have it.
type submissionKey struct {
	keyName
	digest [32]byte
}

// keyName names a key.
type keyName struct{ taskType, key string }

// keyOf is nil for a request without a key. The digest is of the payload, the type
// being a part of the key's name: what a caller computes anew for each try, such as
// a time, is not in it.
func keyOf(taskType string, r *taskv1.SubmitTaskRequest) *submissionKey {
	if r.IdempotencyKey == "" {
		return nil
	}
	return &submissionKey{keyName{taskType, r.IdempotencyKey}, sha256.Sum256(r.Payload.GetValue())}
}

// submitAll submits tasks: of those that have an idempotency key the ones with which
// nobody has submitted yet. It enters into each what became of it.
func (s *TaskService) submitAll(ctx context.Context, subs []*submission) {
	var free, keyed []*submission
	for _, sub := range subs {
		if sub.key == nil {
			free = append(free, sub)
		} else {
			keyed = append(keyed, sub)
		}
	}
	if len(keyed) == 0 {
		s.submit(ctx, free)
		return
	}
	var others sync.WaitGroup
	if len(free) > 0 {
		others.Go(func() { s.submit(ctx, free) })
	}
	s.submitKeyed(ctx, keyed)
	others.Wait()
}

// submitKeyed claims the keys of submissions and submits with those that it has got,
// until none of them is another's who is submitting.
func (s *TaskService) submitKeyed(ctx context.Context, subs []*submission) {
	owner := rand.Text()
	for poll := firstPoll; len(subs) > 0; poll = min(2*poll, lastPoll) {
		subs = s.tryKeys(ctx, owner, subs, poll)
	}
}

// tryKeys submits with the keys that it gets, and returns the submissions whose keys
// are another's once it is worth another look at them. It waits for nobody while it
// holds a key.
func (s *TaskService) tryKeys(ctx context.Context, owner string, subs []*submission, poll time.Duration) []*submission {
	// Whoever ends a claim after the look at it is not missed.
	ended, leave := s.keys.waits.join(subs)
	defer leave()
	c, err := s.claim(ctx, owner, subs)
	if err != nil {
		for _, sub := range subs {
			sub.err = err
		}
		return nil
	}
	s.answerSubmitted(ctx, c.submitted)
	s.submitClaimed(ctx, c)
	if len(c.busy) == 0 || awaitKeys(ctx, ended, poll) {
		return c.busy
	}
	for _, sub := range c.busy {
		sub.err = keyBusy(sub.key, c.busyUntil)
	}
	return nil
}

// awaitKeys waits until it is worth another look at keys; false if the time is over.
func awaitKeys(ctx context.Context, ended <-chan struct{}, poll time.Duration) bool {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// claimed says whose the keys of submissions are. What is in none of its lists has
// its answer.
type claimed struct {
	// mine are to be submitted, with their keys held until the time until.
	mine  []*submission
	refs  []store.KeyRef
	until time.Time
	// submitted have their tasks' ids.
	submitted []*submission
	// busy are another's, the first of them until the time busyUntil.
	busy      []*submission
	busyUntil time.Time
}

// claim claims keys in one transaction.
func (s *TaskService) claim(ctx context.Context, owner string, subs []*submission) (*claimed, error) {
	now := time.Now()
	c := &claimed{until: now.Add(keyLease)}
	claims := make([]store.KeyClaim, len(subs))
	for i, sub := range subs {
		claims[i] = store.KeyClaim{
			Type: sub.key.taskType, Key: sub.key.key, Digest: sub.key.digest, TaskID: sub.message.ID, Owner: owner,
			Until: c.until, WindowEnd: now.Add(keyWindow),
		}
	}
	answers, err := s.keys.claims.ask(ctx, claims)
	if err != nil {
		return nil, keysUnavailable(err)
	}
	for i, a := range answers {
		c.add(subs[i], a, store.KeyRef{Type: claims[i].Type, Key: claims[i].Key, Owner: owner})
	}
	return c, nil
}

func (c *claimed) add(sub *submission, a store.KeyAnswer, ref store.KeyRef) {
	switch a.Outcome {
	case store.KeyMine:
		m := sub.message
		if m.ID = a.TaskID; a.Again {
			// The first message may be in the queue.
			m.Resend, m.ExpireInBroker = true, false
		}
		c.mine, c.refs = append(c.mine, sub), append(c.refs, ref)
	case store.KeyDone:
		sub.message.ID = a.TaskID
		c.submitted = append(c.submitted, sub)
	case store.KeyBusy:
		if c.busy = append(c.busy, sub); c.busyUntil.IsZero() || a.Until.Before(c.busyUntil) {
			c.busyUntil = a.Until
		}
	case store.KeyConflict:
		sub.err = keyConflict(sub.key, a.TaskID)
	default:
		sub.err = rpc.Internal(fmt.Errorf("an idempotency key is answered with outcome %d", a.Outcome))
	}
}

// submitClaimed submits with the keys that were claimed, and ends the claims.
func (s *TaskService) submitClaimed(ctx context.Context, c *claimed) {
	if len(c.mine) == 0 {
		return
	}
	held, l := s.holdKeys(ctx, c.refs, c.until)
	defer l.release()
	var unknown []*submission
	for _, sub := range c.mine {
		if !sub.message.Resend || !s.resubmitted(held, sub) {
			// Others of the batch may be long on their way.
			sub.check = l.check
			unknown = append(unknown, sub)
		}
	}
	if len(unknown) > 0 {
		s.submit(held, unknown)
	}
	s.settle(ctx, c)
}

// resubmitted answers a submission whose task the store has, though nobody has said
// that it was submitted with its key.
func (s *TaskService) resubmitted(ctx context.Context, sub *submission) bool {
	t, err := s.cfg.Store.Task(ctx, sub.message.ID)
	if err != nil {
		return false
	}
	known, err := s.repeated(&t, sub.message.Type, sub.message.Payload)
	if known == nil || err != nil {
		return false
	}
	sub.task, sub.known = known.Task, true
	return true
}

// settle ends claims, each by what became of its submission. A key whose outcome is
// unknown is left to the end of its lease.
func (s *TaskService) settle(ctx context.Context, c *claimed) {
	var ends []keyEnd
	for i, sub := range c.mine {
		switch reason := reasonFor(sub.err); {
		case sub.err == nil:
			ends = append(ends, keyEnd{c.refs[i], true})
		case reason == taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED, reason == taskv1.ErrorReason_ERROR_REASON_QUEUE_FULL:
			ends = append(ends, keyEnd{c.refs[i], false})
		case reason == taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN:
			sub.err = unknownWithKey(sub)
		}
	}
	if len(ends) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxSettle)
		defer cancel()
		if _, err := s.keys.ends.ask(ctx, ends); err != nil {
			// The leases end by themselves. Whoever repeats finds the tasks then.
			s.cfg.Logger.WarnContext(ctx, "idempotency keys can't be settled now", "keys", len(ends), "error", err)
		}
	}
	s.keys.waits.wake(c.mine)
}
