package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// chatServer takes what shoutrrr's generic service posts.
type chatServer struct {
	*httptest.Server

	mu     sync.Mutex
	status int
	texts  []string
}

func newChatServer(t *testing.T, status int) *chatServer {
	t.Helper()
	s := &chatServer{status: status}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m struct{ Message string }
		_ = json.Unmarshal(body, &m)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.texts = append(s.texts, m.Message)
		w.WriteHeader(s.status)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *chatServer) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.texts...)
}

func (s *chatServer) channel(t *testing.T, name string) *Channel {
	t.Helper()
	return chatAt(t, name, s.URL)
}

func chatAt(t *testing.T, name, target string) *Channel {
	t.Helper()
	c, err := NewChannel(name, "generic://"+strings.TrimPrefix(target, "http://")+"/hook/t0ken-in-path?disabletls=yes&template=json", false)
	require.NoError(t, err)
	require.Equal(t, "generic", c.Kind())
	return c
}

func TestChatIsTold(t *testing.T) {
	t.Parallel()
	s, server := openStore(t), newChatServer(t, http.StatusOK)
	watching(t, s, store.TriggerDeadLetter, "chat")
	n := serve(t, s, server.channel(t, "chat"))
	putQuietly(t, s, arrival(1))
	n.Wake()
	brokertest.Eventually(t, patience, func() bool { return len(server.all()) == 1 })
	require.True(t, strings.HasPrefix(server.all()[0], "[Warren] dead letter: acme.v1.Images.Resize ATTEMPTS_EXHAUSTED UNAVAILABLE\n\n"), server.all()[0])
	require.NotContains(t, server.all()[0], "secret payload")
}

func TestADeadChannelHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s, server, broken := openStore(t), newChatServer(t, http.StatusOK), newChatServer(t, http.StatusServiceUnavailable)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	watching(t, s, store.TriggerDeadLetter, "hanging", "broken", "live")
	n := serve(t, s, chatAt(t, "hanging", hanging.URL), broken.channel(t, "broken"), server.channel(t, "live"))
	for run := 1; run <= 5; run++ {
		putQuietly(t, s, arrival(run))
	}
	n.Wake()
	<-asked
	brokertest.Eventually(t, patience, func() bool { return len(server.all()) == 5 && len(broken.all()) > 0 })
	brokertest.Eventually(t, patience, func() bool {
		states, err := s.ChannelStates(t.Context())
		require.NoError(t, err)
		return len(states) == 3 && states[0].LastError != "" && states[0].Waiting == 5 && states[1].Waiting == 5 && states[2].Waiting == 0
	})
}

// A library that does not come back keeps one goroutine, and never two.
func TestAnAttemptThatDoesNotEndIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 10), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	t.Cleanup(hanging.Close)
	c := chatAt(t, "hanging", hanging.URL)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		require.Error(t, c.out.send(ctx, testMessage("", time.Now())))
		cancel()
	}
	<-asked
	require.Empty(t, asked)
	close(release)
	c.out.close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, c.out.send(ctx, testMessage("", time.Now())))
}

func TestChatErrorsHideTheURL(t *testing.T) {
	t.Parallel()
	c, err := NewChannel("chat", "generic://127.0.0.1:1/hook/t0ken-in-path?disabletls=yes&@Authorization=Bearer+hunter2hunter2", false)
	require.NoError(t, err)
	err = c.out.send(t.Context(), testMessage("", time.Now()))
	require.Error(t, err)
	requireHidden(t, err, "t0ken", "hunter2", "Bearer")
	for secret, words := range map[string][]string{
		"slack://hook:T0KENPART1-SECRET2-S3CRETPART3@webhook?colour=s3cr3tvalue": {"T0KENPART1", "S3CRETPART3", "s3cr3tvalue"},
		"telegram://110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw":                {"110201543", "AAHdqTcv"},
		"discord://":                     {},
		"nonsense://hunter2hunter2@host": {"hunter2"},
		"://hunter2":                     {"hunter2"},
		"hunter2hunter2":                 {"hunter2"},
		"generic+http://example.com/hunter2hunter2?disabletls=yes": {"hunter2"},
		"generic://example.com/hunter2hunter2?disabletls=yes":      {"hunter2"},
		"ntfy://example.com/hunter2hunter2?scheme=http":            {"hunter2"},
	} {
		_, err := NewChannel("chat", secret, false)
		require.Error(t, err, secret)
		requireHidden(t, err, words...)
	}
}

func requireHidden(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		require.NotContains(t, err.Error(), word)
	}
}

func TestScrubber(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("slack://xoxb:123456-7890ab-cdefgh@general?title=some%20thing")
	require.NoError(t, err)
	got := scrubberOf(u).clean(errors.New("Post \"https://slack.com/api/x\": \nxoxb-123456-7890ab-cdefgh was not found\x00 in general"))
	require.Equal(t, `Post "`+hidden+`": `+hidden+"-"+hidden+" was not found in "+hidden, got)
	require.LessOrEqual(t, len(scrubberOf(u).clean(errors.New(strings.Repeat("é", 500)))), maxProblem+len("…"))
}

func TestNamesOfChannels(t *testing.T) {
	t.Parallel()
	const good = "generic://example.com/x"
	for name, want := range map[string]bool{
		"chat": true, "a": true, "on-call-2": true, "": false, "Chat": false, "a b": false, "-a": false, "a-": false,
		store.BuiltInRule: false, strings.Repeat("x", 64): false,
	} {
		_, err := NewChannel(name, good, false)
		require.Equal(t, want, err == nil, name)
	}
	_, err := NewChannel("chat", "generic://example.com/x?disabletls=yes", true)
	require.NoError(t, err, "insecure")
}
