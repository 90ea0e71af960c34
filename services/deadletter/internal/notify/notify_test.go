package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestMain(m *testing.M) {
	// As main does it.
	http.DefaultClient.Timeout = SendTimeout
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

const patience = 20 * time.Second

var quiet = slog.New(slog.DiscardHandler)

var secret = secretPrefix + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// received is a request that a receiver has got.
type received struct {
	id        string
	signature error
	body      string
}

// receiver is a webhook that answers with one status after the other, the last
// one for ever.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	statuses []int
	got      []received
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r := &receiver{statuses: statuses}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, received{q.Header.Get("webhook-id"), verifier.Verify(body, q.Header), string(body)})
		status := r.statuses[0]
		if len(r.statuses) > 1 {
			r.statuses = r.statuses[1:]
		}
		w.Header().Set("Location", r.URL+"/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func openStore(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func arrival(run int) store.Arrival {
	return store.Arrival{
		ID: "0192f0c5-0000-7000-8000-000000000001", Type: "acme.v1.Images.Resize", Notify: true,
		Message: store.Message{Body: []byte("secret payload"), Queue: "warren.work.acme"},
		Labels:  map[string]string{"label": "private"},
		Occurrence: store.Occurrence{
			Run: run, Attempt: 3, Cause: task.CauseAttemptsExhausted, Reason: "QUOTA", Decision: "attempt 3 of 3",
			Failure: &task.Failure{
				Code: 14, Message: "upstream is away" + strings.Repeat("é", 2000),
				Details: []task.Detail{{TypeURL: "t", Value: []byte("detail")}},
			},
			DeadTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		},
	}
}

func put(t *testing.T, s store.Store, a store.Arrival) {
	t.Helper()
	changes, err := s.Put(t.Context(), []store.Arrival{a})
	require.NoError(t, err)
	require.True(t, changes[0].Notified)
}

// run runs a notifier with a webhook until the test ends.
func run(t *testing.T, s Store, url string) *Notifier {
	t.Helper()
	w, err := NewWebhook(url, secret, false)
	require.NoError(t, err)
	return serve(t, s, w.Channel())
}

// serve runs a notifier until the test ends.
func serve(t *testing.T, s Store, channels ...*Channel) *Notifier {
	t.Helper()
	n := New(s, channels, nil, quiet)
	serving(t, n)
	return n
}

// serving runs a notifier until the test ends.
func serving(t *testing.T, n *Notifier) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestNotificationIsSignedAndSentOnce(t *testing.T) {
	t.Parallel()
	s, r := openStore(t), newReceiver(t, http.StatusNoContent)
	n := run(t, s, r.URL)
	put(t, s, arrival(1))
	n.Wake()
	brokertest.Eventually(t, patience, func() bool { return len(r.all()) == 1 })
	got := r.all()[0]
	require.NoError(t, got.signature)
	require.NotEmpty(t, got.id)
	var p struct {
		event
		Data data `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &p))
	require.Equal(t, "dead_letter.created", p.Type)
	require.NotZero(t, p.Timestamp)
	require.LessOrEqual(t, len(p.Data.Message), maxMessage+len("…"))
	p.Data.Message = ""
	require.Equal(t, data{
		DeadLetterID: arrival(1).ID, TaskID: arrival(1).ID, TaskType: "acme.v1.Images.Resize", Cause: "ATTEMPTS_EXHAUSTED",
		Code: "UNAVAILABLE", Reason: "QUOTA", Decision: "attempt 3 of 3", Run: 1, Attempt: 3, Queue: "warren.work.acme",
		DeadTime: arrival(1).Occurrence.DeadTime,
	}, p.Data)
	for _, private := range []string{"payload", "private", "detail"} {
		require.NotContains(t, got.body, `"`+private)
	}
	brokertest.Eventually(t, patience, func() bool {
		due, err := s.DueNotifications(t.Context(), store.BuiltInRule, time.Now().Add(2*giveUp), 10)
		return err == nil && len(due) == 0
	})
	require.Len(t, r.all(), 1)
}

func TestNotificationIsRetriedUnderItsID(t *testing.T) {
	t.Parallel()
	s, r := openStore(t), newReceiver(t, http.StatusInternalServerError, http.StatusFound, http.StatusOK)
	n := run(t, s, r.URL)
	put(t, s, arrival(1))
	n.Wake()
	brokertest.Eventually(t, patience, func() bool { return len(r.all()) == 1 })
	// A later run changes nothing of what is told of the first.
	put(t, s, arrival(2))
	brokertest.Eventually(t, patience, func() bool { return len(r.all()) == 4 })
	byID := map[string][]received{}
	for _, x := range r.all() {
		require.NoError(t, x.signature)
		byID[x.id] = append(byID[x.id], x)
	}
	require.Len(t, byID, 2, "one id for each run")
	for _, same := range byID {
		for _, x := range same {
			require.Equal(t, same[0].body, x.body)
		}
	}
}

func TestNotificationIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, http.StatusGone)
	w, err := NewWebhook(r.URL, secret, false)
	require.NoError(t, err)
	defer w.close()
	for age, want := range map[time.Duration]bool{giveUp - time.Minute: false, giveUp: true} {
		fake := &fakeStore{}
		c := w.Channel()
		n := New(fake, []*Channel{c}, nil, quiet)
		require.NoError(t, n.deliver(t.Context(), c, &store.Notification{ID: "x", Time: time.Now().Add(-age), Attempts: 40}))
		require.Equal(t, want, fake.failed.GiveUp)
		require.Contains(t, fake.failed.Error, "410")
		require.Greater(t, time.Until(fake.failed.NextTime), maxBackoff/3)
	}
}

func TestAnUnavailableStoreIsNoFailedAttempt(t *testing.T) {
	t.Parallel()
	fake := &fakeStore{err: store.ErrUnavailable}
	c := newChannel("none", "none", 1, nil)
	err := New(fake, nil, nil, quiet).deliver(t.Context(), c, &store.Notification{})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.Zero(t, fake.failed)
	fake.err = errors.New("broken row")
	require.NoError(t, New(fake, nil, nil, quiet).deliver(t.Context(), c, &store.Notification{Time: time.Now()}))
	require.Contains(t, fake.failed.Error, "broken row")
}

// fakeStore has one dead letter.
type fakeStore struct {
	Store

	err    error
	failed store.NotificationFailure
}

func (f *fakeStore) Get(context.Context, string, bool) (store.DeadLetter, error) {
	return store.DeadLetter{}, f.err
}

func (f *fakeStore) NotificationSent(context.Context, string) error { return nil }

func (f *fakeStore) NotificationFailed(_ context.Context, _ string, x store.NotificationFailure) error {
	f.failed = x
	return nil
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for failed, most := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 12: time.Hour, 1000: time.Hour} {
		for range 100 {
			d := backoff(failed)
			require.LessOrEqual(t, d, most)
			require.GreaterOrEqual(t, d, max(most/2, time.Second))
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	a := arrival(1)
	for _, c := range []struct {
		types, codes []string
		want         bool
	}{
		{nil, nil, true},
		{[]string{"acme.v1.*"}, nil, true},
		{[]string{"acme.v2.*", "*.Resize"}, nil, true},
		{[]string{"acme.v1.Images"}, nil, false},
		{nil, []string{"INTERNAL", "UNAVAILABLE"}, true},
		{nil, []string{"INTERNAL"}, false},
		{[]string{"other.*"}, []string{"UNAVAILABLE"}, true},
	} {
		r, err := ParseRules(c.types, c.codes)
		require.NoError(t, err)
		require.Equal(t, c.want, r.Match(&a), "%v %v", c.types, c.codes)
	}
	bare := store.Arrival{}
	r, err := ParseRules(nil, []string{"OK"})
	require.NoError(t, err)
	require.False(t, r.Match(&bare))
	_, err = ParseRules([]string{"["}, nil)
	require.ErrorContains(t, err, `"["`)
	_, err = ParseRules(nil, []string{"Unavailable"})
	require.ErrorContains(t, err, "Unavailable")
}

func TestWebhookRefusesMistakes(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "ftp://x/", "https://", "://", "http://example.com/hook"} {
		_, err := NewWebhook(url, secret, false)
		require.Error(t, err, url)
	}
	for _, s := range []string{"", "whsec_", "whsec_!!", strings.TrimPrefix(secret, secretPrefix), "whsec_" + base64.StdEncoding.EncodeToString([]byte("short"))} {
		_, err := NewWebhook("https://example.com/", s, false)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "!!")
	}
	for _, url := range []string{"https://example.com/hook", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"} {
		_, err := NewWebhook(url, secret+"\n", false)
		require.NoError(t, err, url)
	}
	_, err := NewWebhook("http://example.com/hook", secret, true)
	require.NoError(t, err)
}

func TestErrorsDoNotShowTheURL(t *testing.T) {
	t.Parallel()
	w, err := NewWebhook("http://127.0.0.1:1/token-in-path", secret, false)
	require.NoError(t, err)
	defer w.close()
	err = w.send(t.Context(), &message{id: "id"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "token")
}
