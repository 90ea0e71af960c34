package api

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// watchPage is how many changes are read at once.
	watchPage = 100
	// recheck is how long a watcher trusts that it is woken: a wake-up that was
	// lost with another process costs no more.
	recheck = 5 * time.Second
)

// Hub wakes those who wait for changes in the store.
type Hub struct {
	mu   sync.Mutex
	news chan struct{}
}

// NewHub makes a hub.
func NewHub() *Hub { return &Hub{news: make(chan struct{})} }

// Wake wakes everyone who waits. It never blocks.
func (h *Hub) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.news)
	h.news = make(chan struct{})
}

// next is closed at the next change. Take it before reading the store.
func (h *Hub) next() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.news
}

// WatchDeadLetters implements warren.deadletter.v1.DeadLetterService.
func (s *Service) WatchDeadLetters(r *deadletterv1.WatchDeadLettersRequest, stream grpc.ServerStreamingServer[deadletterv1.WatchDeadLettersResponse]) error {
	ctx := stream.Context()
	f, err := store.Fields.Parse(r.Filter)
	if err != nil {
		return filterInvalid(err)
	}
	after, err := s.beginWatch(r, stream)
	if err != nil {
		return err
	}
	for {
		news := s.cfg.Hub.next()
		page, err := s.cfg.Store.Changes(ctx, after, f, watchPage, isFull(r.View))
		if err != nil {
			return answer(err)
		}
		for n := range page.DeadLetters {
			d := &page.DeadLetters[n]
			err := stream.Send(&deadletterv1.WatchDeadLettersResponse{
				DeadLetter: s.show(ctx, d, isFull(r.View)), ResumeToken: resumeToken(d.Change),
			})
			if err != nil {
				return err
			}
		}
		after = page.Through
		patience := recheck
		if page.More {
			patience = 0
		}
		if err := s.await(ctx, news, patience); err != nil {
			return err
		}
	}
}

// beginWatch gives the change after which to begin, and tells it to who has no
// token yet.
func (s *Service) beginWatch(r *deadletterv1.WatchDeadLettersRequest, stream grpc.ServerStreamingServer[deadletterv1.WatchDeadLettersResponse]) (int64, error) {
	latest, err := s.cfg.Store.LatestChange(stream.Context())
	if err != nil {
		return 0, answer(err)
	}
	if r.ResumeToken != "" {
		return parseResumeToken(r.ResumeToken, latest)
	}
	return latest, stream.Send(&deadletterv1.WatchDeadLettersResponse{ResumeToken: resumeToken(latest)})
}

// await waits for news, or for the time given.
func (s *Service) await(ctx context.Context, news <-chan struct{}, atMost time.Duration) error {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-s.stopping:
	case <-ctx.Done():
	}
	select {
	case <-s.stopping:
		return shuttingDown()
	default:
		return ctx.Err()
	}
}
