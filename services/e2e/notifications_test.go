package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// room is a chat that takes what shoutrrr's generic service posts.
type room struct {
	flag string

	mu     sync.Mutex
	broken bool
	calls  int
	texts  []string
}

func newRoom(t *testing.T, name string) *room {
	t.Helper()
	r := &room{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var m struct{ Message string }
		if err == nil {
			err = json.Unmarshal(body, &m)
		}
		if err != nil {
			t.Errorf("a chat's message: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.calls++; r.broken {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.texts = append(r.texts, m.Message)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), name)
	url := "generic://" + strings.TrimPrefix(server.URL, "http://") + "/hook/s3cret-t0ken?disabletls=yes&template=json"
	require.NoError(t, os.WriteFile(file, []byte(url+"\n"), 0o600))
	r.flag = name + "=" + file
	return r
}

func (r *room) came() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.texts...)
}

func (r *room) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func (r *room) breakDown(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = broken
}

func (p *platform) addRule(t *testing.T, r *deadletterv1.NotificationRule) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := p.dead.CreateNotificationRule(ctx, &deadletterv1.CreateNotificationRuleRequest{Rule: r, Reason: "a test"})
		return err
	})
}

// failAlike submits tasks that fail in one way, though no two say the same.
func (p *platform) failAlike(t *testing.T, n int, what string) {
	t.Helper()
	for i := range n {
		p.submit(t, typeFail, fail(codes.NotFound, fmt.Sprintf("%s %d of 10.0.0.%d is not there", what, 1000+i, i)))
	}
}

// Somebody is told once of each failure group, however many tasks fall into it, and also
// by a service that was killed before it could.
func TestNotificationsTellOnceOfAGroup(t *testing.T) {
	t.Parallel()
	chat := newRoom(t, "chat")
	p, _ := onVHost(t)
	p.startWorker(t)
	p.startDeadletter(t, "--notify", chat.flag)
	p.awaitReady(t, typeFail)
	p.addRule(t, &deadletterv1.NotificationRule{
		RuleId: "new-groups", Trigger: deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_NEW_GROUP, Channels: []string{"chat"},
	})
	p.failAlike(t, 50, "order")
	p.awaitDead(t, `state = OPEN`, 50, 60*time.Second)
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(chat.came()) > 0 })

	chat.breakDown(true)
	before := chat.tried()
	p.failAlike(t, 10, "customer")
	p.awaitDead(t, `state = OPEN`, 60, 60*time.Second)
	brokertest.Eventually(t, 20*time.Second, func() bool { return chat.tried() > before })
	p.deadletter.kill()
	chat.breakDown(false)
	p.startDeadletter(t, "--notify", chat.flag)
	brokertest.Eventually(t, 30*time.Second, func() bool { return len(chat.came()) > 1 })

	p.failAlike(t, 5, "invoice")
	p.awaitDead(t, `state = OPEN`, 65, 60*time.Second)
	brokertest.Eventually(t, 30*time.Second, func() bool { return len(chat.came()) > 2 })
	texts := chat.came()
	require.Len(t, texts, 3)
	for i, what := range []string{"order", "customer", "invoice"} {
		require.Contains(t, texts[i], "new failure group: "+typeFail)
		require.Contains(t, texts[i], "Message: "+what+" <num> of <addr> is not there")
	}
	p.requireSent(t, 3)
}

// requireSent waits until so many notifications were made and all were sent.
func (p *platform) requireSent(t *testing.T, n int) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		all, err := p.dead.ListNotifications(t.Context(), &deadletterv1.ListNotificationsRequest{})
		if err != nil {
			return err
		}
		for _, x := range all.Notifications {
			if x.State != deadletterv1.NotificationState_NOTIFICATION_STATE_SENT {
				return fmt.Errorf("a notification is %s: %s", x.State, x.LastError)
			}
		}
		if len(all.Notifications) != n {
			return fmt.Errorf("there are %d notifications, not %d", len(all.Notifications), n)
		}
		return nil
	})
}

// A channel that is down is seen to be, and holds up no other; its secret is nowhere.
func TestNotificationsOfADeadChannel(t *testing.T) {
	t.Parallel()
	live, down := newRoom(t, "live"), newRoom(t, "down")
	down.breakDown(true)
	p, _ := onVHost(t)
	p.startWorker(t)
	p.startDeadletter(t, "--notify", live.flag, "--notify", down.flag)
	p.awaitReady(t, typeFail)
	p.addRule(t, &deadletterv1.NotificationRule{
		RuleId: "any", Trigger: deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_COUNT, Channels: []string{"down", "live"},
	})
	p.failAlike(t, 1, "order")
	brokertest.Eventually(t, 30*time.Second, func() bool { return len(live.came()) == 1 && down.tried() > 1 })
	require.Contains(t, live.came()[0], "OPEN dead letters: 1, more than 0 (rule any)")

	tested, err := p.dead.TestNotification(t.Context(), &deadletterv1.TestNotificationRequest{Channel: "down"})
	require.NoError(t, err)
	require.False(t, tested.Sent)
	require.Contains(t, tested.Error, "503")
	channels, err := p.dead.ListNotificationChannels(t.Context(), &deadletterv1.ListNotificationChannelsRequest{})
	require.NoError(t, err)
	require.Len(t, channels.Channels, 2)
	shown := channels.Channels[0]
	require.Equal(t, "down", shown.Channel)
	require.EqualValues(t, 1, shown.Waiting)
	require.Contains(t, shown.LastError, "503")
	log, err := os.ReadFile(p.deadletter.log)
	require.NoError(t, err)
	require.Contains(t, string(log), "a notification was not sent")
	for _, text := range []string{string(log), tested.Error, shown.LastError} {
		require.NotContains(t, text, "s3cret-t0ken")
	}
}
