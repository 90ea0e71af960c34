package e2e

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// call is a webhook as it came, its signature verified.
type call struct {
	id   string
	body struct {
		Type string
		Data struct {
			DeadLetterID string `json:"dead_letter_id"`
			Code         string
		}
	}
}

// hook is somebody's server for webhooks.
type hook struct {
	url, secretFile string

	mu     sync.Mutex
	broken bool
	calls  []call
}

func newHook(t *testing.T) *hook {
	t.Helper()
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	verifier, err := webhooks.NewWebhook(secret)
	require.NoError(t, err)
	h := &hook{secretFile: filepath.Join(t.TempDir(), "secret"), broken: true}
	require.NoError(t, os.WriteFile(h.secretFile, []byte(secret), 0o600))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		var c call
		if err == nil {
			c.id = r.Header.Get("webhook-id")
			err = json.Unmarshal(body, &c.body)
		}
		if err != nil {
			t.Errorf("a webhook: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls = append(h.calls, c)
		if h.broken {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *hook) came() []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

func (h *hook) mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken, h.calls = false, nil
}

// A webhook about a critical dead letter is signed, sent again under the same id
// until it is taken, also by a service that was killed meanwhile, and then no more.
func TestWebhookIsSentUntilItIsTaken(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	p, _ := onVHost(t)
	p.startWorker(t)
	flags := []string{"--webhook-url", h.url, "--webhook-secret-file", h.secretFile, "--webhook-code", "DATA_LOSS"}
	p.startDeadletter(t, flags...)
	p.awaitReady(t, typeFail)
	p.submit(t, typeFail, fail(codes.NotFound, "nobody cares"))
	id := p.submit(t, typeFail, fail(codes.DataLoss, "it is gone")).TaskId
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(h.came()) >= 2 })
	first := h.came()[0]
	require.Equal(t, "dead_letter.created", first.body.Type)
	require.Equal(t, id, first.body.Data.DeadLetterID)
	require.Equal(t, "DATA_LOSS", first.body.Data.Code)

	p.deadletter.kill()
	h.mend()
	p.startDeadletter(t, flags...)
	brokertest.Eventually(t, 30*time.Second, func() bool { return len(h.came()) > 0 })
	require.Equal(t, first.id, h.came()[0].id, "the receiver knows it by its id")

	// Another dead letter is told as well, and the first one not once more.
	next := p.submit(t, typeFail, fail(codes.DataLoss, "and this")).TaskId
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(h.came()) == 2 })
	require.Equal(t, next, h.came()[1].body.Data.DeadLetterID)
	require.NotEqual(t, first.id, h.came()[1].id)
}
