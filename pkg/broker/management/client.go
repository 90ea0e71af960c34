// Package management asks RabbitMQ's management HTTP API for what AMQP does not
// show: the policies in force, bindings, and the state of nodes and queues. It
// changes nothing.
//
// https://www.rabbitmq.com/docs/http-api-reference
package management

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// requestTimeout bounds one request, its answer included.
	requestTimeout = 10 * time.Second
	// maxAnswer bounds an answer.
	maxAnswer = 16 << 20
)

// Errors of all requests, besides those of the network.
var (
	// ErrUnauthorized says that the user may not ask for that, or does not exist.
	ErrUnauthorized = errors.New("the management API refuses this user")
	// ErrNotFound says that the object does not exist, or that the user has no
	// permissions in the virtual host.
	ErrNotFound = errors.New("the management API does not know it")
)

// Client asks one management API about one virtual host. It is safe for
// concurrent use and keeps no connection open.
type Client struct {
	base           *url.URL
	user, password string
	vhost          string
	http           *http.Client
}

// New makes a client of the API at a URL of the form
// http://USER:PASSWORD@HOST:15672. With https the parameter cacertfile may name
// a file of certificate authorities to trust, instead of the machine's. The user
// needs permissions in the virtual host and the tag management, or monitoring
// to see the nodes too. An error does not repeat the URL, which may hold a
// password.
func New(rawURL, vhost string) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("a management URL is not of the form http://USER:PASSWORD@HOST:PORT")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// It is asked once a minute.
	transport.DisableKeepAlives = true
	if file := u.Query().Get("cacertfile"); file != "" {
		if transport.TLSClientConfig, err = trusting(file); err != nil {
			return nil, err
		}
	}
	c := &Client{base: u, vhost: vhost, http: &http.Client{
		Transport: transport, Timeout: requestTimeout,
		// A redirect may lead to a login page.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if u.User != nil {
		c.user = u.User.Username()
		c.password, _ = u.User.Password()
	}
	c.base.User, c.base.RawQuery, c.base.Fragment = nil, "", ""
	return c, nil
}

func trusting(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the management API's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// String is the API's address, safe to log.
func (c *Client) String() string { return c.base.Scheme + "://" + c.base.Host }

// VHost is the virtual host that the client asks about.
func (c *Client) VHost() string { return c.vhost }

// get asks for a path, given as segments to be escaped.
func (c *Client) get(ctx context.Context, into any, query url.Values, path ...string) error {
	what := strings.Join(path, " ")
	target := strings.TrimSuffix(c.base.EscapedPath(), "/") + "/api"
	for _, segment := range path {
		target += "/" + url.PathEscape(segment)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.String()+target, nil)
	if err != nil {
		return fmt.Errorf("ask the management API for %s: %w", what, err)
	}
	request.URL.RawQuery = query.Encode()
	request.Header.Set("Accept", "application/json")
	request.SetBasicAuth(c.user, c.password)
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the management API for %s: %w", what, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := statusError(response); err != nil {
		return fmt.Errorf("ask the management API at %s for %s: %w", c, what, err)
	}
	return decode(response.Body, into, what)
}

func statusError(response *http.Response) error {
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrUnauthorized
	case http.StatusNotFound:
		return ErrNotFound
	}
	return errors.New("it answers " + response.Status)
}

func decode(body io.Reader, into any, what string) error {
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the management API's answer for %s: %w", what, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("the management API's answer for %s is above %d bytes", what, maxAnswer)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read the management API's answer for %s: %w", what, err)
	}
	return nil
}
