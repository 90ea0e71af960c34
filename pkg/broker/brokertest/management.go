//go:build unix

package brokertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// management is a broker's HTTP API.
type management struct{ base string }

const requestTimeout = 15 * time.Second

// errNotFound stands for the status 404.
var errNotFound = errors.New("not found")

// put, get and delete take the path as segments, which they escape: virtual hosts and queues may have any name.

func (m management) put(body any, path ...string) error {
	return m.do(http.MethodPut, body, nil, path)
}

func (m management) get(into any, path ...string) error {
	return m.do(http.MethodGet, nil, into, path)
}

func (m management) delete(path ...string) error {
	return m.do(http.MethodDelete, nil, nil, path)
}

func (m management) do(method string, body, into any, path []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	request, err := m.request(ctx, method, body, path)
	if err != nil {
		return fmt.Errorf("asking management to %s %v: %w", method, path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking management: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer of management to %s %v: %w", method, path, err)
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("asking management to %s %v: %w", method, path, errNotFound)
	case response.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("asking management to %s %v: %s: %s", method, path, response.Status, answer)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("reading the answer of management to %s %v: %w", method, path, err)
	}
	return nil
}

func (m management) request(ctx context.Context, method string, body any, path []string) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	target := m.base + "/api"
	for _, segment := range path {
		target += "/" + url.PathEscape(segment)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	// One connection for one request: nothing is left over for leak checks to find.
	request.Close = true
	return request, nil
}

// user is the account that the API and the AMQP URL use.
func (m management) user() string {
	u, err := url.Parse(m.base)
	if err != nil || u.User == nil {
		return "guest"
	}
	return u.User.Username()
}

// vhostURL returns the AMQP URL with another virtual host.
func vhostURL(amqpURL, vhost string) (string, error) {
	u, err := url.Parse(amqpURL)
	if err != nil {
		return "", fmt.Errorf("reading an AMQP URL: %w", err)
	}
	u.Path, u.RawPath = "/"+vhost, "/"+url.PathEscape(vhost)
	return u.String(), nil
}
