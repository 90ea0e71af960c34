package api

import (
	"context"
	"slices"
	"sync"
	"time"
)

// group lets calls that come while one is under way go together with the next one: the
// store writes each time to its disk, however much.
type group[Q, A any] struct {
	// do gives as many answers as questions, or an error for all of them. Its context is
	// not that of one caller.
	do func(context.Context, []Q) ([]A, error)
	// most bounds the questions that go together; more of one call are not parted.
	most int
	// within bounds one call of do.
	within time.Duration

	mu sync.Mutex
	// busy says that one of the calls has the turn.
	busy    bool
	waiting []*asked[Q, A]
}

// asked is a call that waits.
type asked[Q, A any] struct {
	questions []Q
	// turn has a value when this call is to do it for the others too.
	turn chan struct{}
	// done is closed once the answers, or the error, are there.
	done    chan struct{}
	answers []A
	err     error
}

// ask returns the answers to questions. When ctx ends they may have been dealt with all
// the same.
func (g *group[Q, A]) ask(ctx context.Context, questions []Q) ([]A, error) {
	a := &asked[Q, A]{questions: questions, turn: make(chan struct{}, 1), done: make(chan struct{})}
	g.enter(a)
	select {
	case <-a.turn:
		g.work(ctx)
		<-a.done
	case <-a.done:
	case <-ctx.Done():
		g.withdraw(a)
		return nil, context.Cause(ctx)
	}
	return a.answers, a.err
}

func (g *group[Q, A]) enter(a *asked[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, a)
	if !g.busy {
		g.passOn()
	}
}

// passOn gives the turn to the call that waits for the longest.
func (g *group[Q, A]) passOn() {
	if g.busy = len(g.waiting) > 0; g.busy {
		g.waiting[0].turn <- struct{}{}
	}
}

// work does what calls ask for that wait, and passes the turn on. The call that has the
// turn is the first of them.
func (g *group[Q, A]) work(ctx context.Context) {
	together, questions := g.take()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.within)
	defer cancel()
	answers, err := g.do(bounded, questions)
	for _, a := range together {
		if a.err = err; err == nil {
			a.answers, answers = answers[:len(a.questions)], answers[len(a.questions):]
		}
		close(a.done)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passOn()
}

func (g *group[Q, A]) take() (together []*asked[Q, A], questions []Q) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 && (len(together) == 0 || len(questions)+len(g.waiting[0].questions) <= g.most) {
		together, questions = append(together, g.waiting[0]), append(questions, g.waiting[0].questions...)
		g.waiting = g.waiting[1:]
	}
	return together, questions
}

// withdraw takes back a call that has not been dealt with.
func (g *group[Q, A]) withdraw(a *asked[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(other *asked[Q, A]) bool { return other == a })
	select {
	case <-a.turn:
		g.passOn()
	default:
	}
}
