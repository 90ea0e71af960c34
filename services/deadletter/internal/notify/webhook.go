package notify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// webhookSenders bounds the requests at one time.
const webhookSenders = 4

// secretPrefix is that of a secret in text.
const secretPrefix = "whsec_"

// Webhook is where notifications go: signed as Standard Webhooks
// (https://www.standardwebhooks.com) say.
type Webhook struct {
	url    string
	signer *standardwebhooks.Webhook
	client *http.Client
}

// NewWebhook makes a webhook. The secret is `whsec_` and 24 to 64 bytes in
// base64. The URL is https, or http within this machine, or anywhere if insecure.
func NewWebhook(target, secret string, insecure bool) (*Webhook, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the URL of a webhook is https://HOST/PATH")
	}
	if u.Scheme == "http" && !insecure && !rpc.IsLoopback(u.Hostname()) {
		return nil, errors.New("a webhook beyond this machine needs https, or --insecure if plain http is meant")
	}
	encoded, ok := strings.CutPrefix(strings.TrimSpace(secret), secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		// Without the text, which may be a secret all the same.
		return nil, fmt.Errorf("the secret of a webhook is %s and 24 to 64 bytes in base64", secretPrefix)
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, fmt.Errorf("take the secret of a webhook: %w", err)
	}
	return &Webhook{url: target, signer: signer, client: &http.Client{
		Timeout:   sendTimeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: webhookSenders, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: sendTimeout},
		// A redirect would lead the notification, and its signature, elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// close gives idle connections up.
func (w *Webhook) close() { w.client.CloseIdleConnections() }

// Channel is the webhook as a channel.
func (w *Webhook) Channel() *Channel {
	return newChannel(store.BuiltInRule, KindWebhook, webhookSenders, w)
}

func (w *Webhook) send(ctx context.Context, m *message) error {
	body, err := json.Marshal(m.event)
	if err != nil {
		return fmt.Errorf("encode a notification: %w", err)
	}
	return w.post(ctx, m.id, body, time.Now())
}

// post sends a body under an id by which the receiver knows a repeated one. Any
// status but 2xx is an error.
func (w *Webhook) post(ctx context.Context, id string, body []byte, now time.Time) error {
	signature, err := w.signer.Sign(id, now, body)
	if err != nil {
		return fmt.Errorf("sign a notification: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "warren-deadletter")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	response, err := w.client.Do(request)
	if err != nil {
		// Its URL may hold a secret.
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("post to the webhook: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // what it has is of no interest
	// So that the connection is used again.
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d", response.StatusCode)
	}
	return nil
}
