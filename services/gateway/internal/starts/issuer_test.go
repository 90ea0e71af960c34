package starts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// fakes stand for the projection, the store and the broker.
type fakes struct {
	mu       sync.Mutex
	catchUps int
	// behind is what catching up answers; while caughtUp is not nil it waits for it,
	// as long as it may.
	behind   error
	caughtUp chan struct{}
	// batches are what the store was asked; decide answers.
	batches [][]task.StartRequest
	decide  func(task.StartRequest) (task.StartAnswer, error)
	// told are the answers by request id.
	told    map[string]*brokerv1.StartAnswer
	workers map[string]string
	tellErr error
	// messages counts those that had all that.
	messages int
}

func newFakes() *fakes {
	return &fakes{
		told: map[string]*brokerv1.StartAnswer{}, workers: map[string]string{},
		decide: func(task.StartRequest) (task.StartAnswer, error) {
			return task.StartAnswer{Verdict: task.VerdictStart}, nil
		},
	}
}

// hold has the projection lag behind until caughtUp is closed.
func (f *fakes) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caughtUp = make(chan struct{})
}

func (f *fakes) CatchUpWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	f.mu.Lock()
	f.catchUps++
	err, wait := f.behind, f.caughtUp
	f.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (f *fakes) Start(_ context.Context, requests []task.StartRequest) ([]task.StartAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, requests)
	answers := make([]task.StartAnswer, len(requests))
	for i, r := range requests {
		var err error
		if answers[i], err = f.decide(r); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (f *fakes) PublishControl(_ context.Context, workerID string, m *brokerv1.ControlMessage) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tellErr != nil {
		return f.tellErr
	}
	if m.GatewayId != "g-1" || m.Time == nil {
		return fmt.Errorf("nobody says %v", m)
	}
	f.messages++
	answers := m.GetStarts().GetAnswers()
	if one := m.GetStart(); one != nil {
		answers = []*brokerv1.StartAnswer{one}
	}
	for _, answer := range answers {
		f.told[answer.RequestId], f.workers[answer.RequestId] = answer, workerID
	}
	return nil
}

func newIssuer(f *fakes) *Issuer {
	return NewIssuer(Config{
		GatewayID: "g-1", Projection: f, Store: f, Controller: f, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func request(id string) task.StartRequest {
	return task.StartRequest{
		RequestID: id, TaskID: task.NewID(), Type: "acme.v1.ImageService.Resize", Run: 1, Attempt: 1, Copy: task.NewCopy(), Delivery: 2, Failed: 1,
	}
}

// inBubble runs an issuer within the bubble's clock.
func inBubble(t *testing.T, f *fakes, test func(t *testing.T, i *Issuer)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(f)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			i.Run(ctx)
		}()
		synctest.Wait()
		test(t, i)
		cancel()
		<-ended
	})
}

func TestAllThatWaitShareOneCatchUpAndOneDecision(t *testing.T) {
	f := newFakes()
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		f.hold()
		i.Ask("w", request("first"))
		synctest.Wait()
		for n := range 100 {
			i.Ask(fmt.Sprint("w-", n), request(fmt.Sprint("r-", n)))
		}
		i.Ask("w-7", request("r-7"))
		synctest.Wait()
		require.Empty(t, f.told, "the store has not caught up")
		close(f.caughtUp)
		synctest.Wait()
		require.Equal(t, 2, f.catchUps)
		require.Len(t, f.batches, 2)
		require.Len(t, f.batches[1], 101, "one that is there twice is decided twice")
		require.Len(t, f.told, 101)
		for n := range 100 {
			id := fmt.Sprint("r-", n)
			require.Equal(t, brokerv1.StartVerdict_START_VERDICT_START, f.told[id].Verdict)
			require.Equal(t, fmt.Sprint("w-", n), f.workers[id])
		}
	})
}

// What a worker has asked for at once it is told at once.
func TestAnswersGoTogether(t *testing.T) {
	f := newFakes()
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		several := func(prefix string, n int) []task.StartRequest {
			all := make([]task.StartRequest, n)
			for k := range all {
				all[k] = request(fmt.Sprint(prefix, k))
			}
			return all
		}
		f.hold()
		i.Ask("first", request("first"))
		synctest.Wait()
		i.Ask("one", several("a-", 10)...)
		i.Ask("other", several("b-", 10)...)
		i.Ask("one", several("c-", 10)...)
		i.Ask("one", request("d"))
		close(f.caughtUp)
		synctest.Wait()
		require.Len(t, f.told, 32)
		require.Equal(t, "one", f.workers["c-9"])
		require.Equal(t, "other", f.workers["b-0"])
		require.Equal(t, 4, f.messages, "the first one, one for each worker, and one for what came alone")

		i.Ask("one", several("e-", maxTogether+1)...)
		synctest.Wait()
		require.Len(t, f.told, 33+maxTogether)
		require.Equal(t, 6, f.messages)
	})
}

func TestAnswersThatGoTogetherAreBounded(t *testing.T) {
	f := newFakes()
	f.decide = func(r task.StartRequest) (task.StartAnswer, error) {
		return task.StartAnswer{Verdict: task.VerdictRepeat, Outcome: &task.Event{
			TaskID: r.TaskID, Type: r.Type, Time: time.UnixMicro(1e15).UTC(), Message: make([]byte, maxTogetherBytes*2/5),
			Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded, Copy: task.NewCopy()},
		}}, nil
	}
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		i.Ask("w", request("1"), request("2"), request("3"), request("4"), request("5"))
		synctest.Wait()
		require.Len(t, f.told, 5)
		require.Equal(t, 3, f.messages)
	})
}

func TestAStartIsAnsweredByAProjectionThatLags(t *testing.T) {
	f := newFakes()
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		f.hold()
		i.Ask("w", request("r-1"))
		<-time.After(4 * time.Second)
		synctest.Wait()
		require.Empty(t, f.told)
		close(f.caughtUp)
		synctest.Wait()
		require.Contains(t, f.told, "r-1", "its worker still waits")

		f.hold()
		i.Ask("w", request("r-2"))
		<-time.After(broker.RequestTTL + 4*time.Second)
		synctest.Wait()
		close(f.caughtUp)
		synctest.Wait()
		require.NotContains(t, f.told, "r-2", "its worker is about to give up")
	})
}

func TestTheStoreDecidesInBoundedTransactions(t *testing.T) {
	f := newFakes()
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		f.hold()
		i.Ask("w", request("first"))
		synctest.Wait()
		const many = maxWaiting + 100
		for n := range many {
			i.Ask("w", request(fmt.Sprint("r-", n)))
		}
		close(f.caughtUp)
		synctest.Wait()
		require.Len(t, f.told, 1+maxWaiting, "more than may wait are dropped, never waited for")
		require.Equal(t, 2, f.catchUps)
		for _, batch := range f.batches {
			require.LessOrEqual(t, len(batch), maxDecide)
		}
		// The worker asks again.
		i.Ask("w", request(fmt.Sprint("r-", many-1)))
		synctest.Wait()
		require.Contains(t, f.told, fmt.Sprint("r-", many-1))
	})
}

func TestNobodyIsAnsweredWithoutADecision(t *testing.T) {
	f := newFakes()
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		ask := func() {
			i.Ask("w", request("r"))
			synctest.Wait()
		}
		f.behind = errors.New("behind")
		ask()
		require.Empty(t, f.batches, "what was said before may be missing from the record")
		f.behind, f.decide = nil, func(task.StartRequest) (task.StartAnswer, error) {
			return task.StartAnswer{}, fmt.Errorf("%w: locked", store.ErrUnavailable)
		}
		ask()
		require.Len(t, f.batches, 1)
		f.decide, f.tellErr = newFakes().decide, errors.New("no connection")
		ask()
		require.Empty(t, f.told)
		f.tellErr = nil
		ask()
		require.Len(t, f.told, 1)
	})
}

func TestOneBadRecordCostsNoOtherTask(t *testing.T) {
	f := newFakes()
	f.decide = func(r task.StartRequest) (task.StartAnswer, error) {
		if r.RequestID == "r-3" {
			return task.StartAnswer{}, errors.New("corrupt")
		}
		return task.StartAnswer{Verdict: task.VerdictDrop}, nil
	}
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		f.hold()
		i.Ask("w", request("first"))
		synctest.Wait()
		for n := range 8 {
			i.Ask("w", request(fmt.Sprint("r-", n)))
		}
		close(f.caughtUp)
		synctest.Wait()
		require.Len(t, f.told, 8)
		require.NotContains(t, f.told, "r-3")
	})
}

func TestAnswersHaveWhatIsOnRecord(t *testing.T) {
	f := newFakes()
	outcome := &task.Event{
		TaskID: task.NewID(), Type: "acme.v1.ImageService.Resize", Time: time.UnixMicro(1e15).UTC(),
		Key:         task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseRetrying, Copy: task.NewCopy()},
		NextAttempt: 2, NextAttemptTime: time.UnixMicro(2e15).UTC(), Decision: "next in a while",
	}
	f.decide = func(task.StartRequest) (task.StartAnswer, error) {
		return task.StartAnswer{Verdict: task.VerdictRepeat, Outcome: outcome, Crashes: 2}, nil
	}
	inBubble(t, f, func(t *testing.T, i *Issuer) {
		i.Ask("w", request("r"))
		synctest.Wait()
		answer, err := broker.StartAnswerFromProto(f.told["r"])
		require.NoError(t, err)
		require.Equal(t, task.StartAnswer{Verdict: task.VerdictRepeat, Outcome: outcome, Crashes: 2}, answer)
	})
}
