package notify

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// sendTimeout bounds one attempt to send, the receiver's answer included.
const sendTimeout = 10 * time.Second

// SendTimeout is that of the HTTP client that most chats are sent with, which takes no
// other bound: whoever runs channels sets it as that of http.DefaultClient before.
const SendTimeout = sendTimeout

// KindWebhook is the kind of the channel that --webhook-url configures.
const KindWebhook = "webhook"

// Channel is where people or programs are told.
type Channel struct {
	name, kind string
	out        sender
	// senders bounds the attempts at one time.
	senders int
	news    chan struct{}
}

// sender sends to one place. Its errors are for people, and without secrets.
type sender interface {
	// send returns when ctx has ended, if not before.
	send(ctx context.Context, m *message) error
	// close is called last.
	close()
}

// message is what is sent.
type message struct {
	// id is the same in each attempt.
	id string
	// event is for programs, title and text are for people.
	event       event
	title, text string
}

func newChannel(name, kind string, senders int, out sender) *Channel {
	return &Channel{name: name, kind: kind, out: out, senders: senders, news: make(chan struct{}, 1)}
}

// Name is unique.
func (c *Channel) Name() string { return c.name }

// Kind is e.g. `webhook`, `smtp` or `slack`.
func (c *Channel) Kind() string { return c.kind }

var channelName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// NewChannel makes a channel from a URL as shoutrrr has them
// (https://shoutrrr.nickfedor.com), e.g. smtp://USER:PASSWORD@HOST:587/?from=A&to=B. The
// name is of lower-case letters, digits and hyphens. What is sent unencrypted stays
// within this machine, unless insecure. No error shows the URL, which is a secret.
func NewChannel(name, secret string, insecure bool) (*Channel, error) {
	switch {
	case name == store.BuiltInRule:
		return nil, fmt.Errorf("the name %s is that of --webhook-url; take another one", name)
	case !channelName.MatchString(name):
		return nil, fmt.Errorf("%.70q is no name of a channel; one is of lower-case letters, digits and hyphens, at most 63", name)
	}
	u, err := url.Parse(strings.TrimSpace(secret))
	if err != nil || u.Scheme == "" {
		// The error has the URL.
		return nil, errors.New("it does not hold one URL such as smtp://USER:PASSWORD@HOST:587/?from=ADDRESS&to=ADDRESS")
	}
	if u.Scheme == kindMail {
		out, err := newMail(u, insecure)
		if err != nil {
			return nil, err
		}
		return newChannel(name, kindMail, mailSenders, out), nil
	}
	kind, _, _ := strings.Cut(u.Scheme, "+")
	out, err := newChat(kind, u, insecure)
	if err != nil {
		return nil, err
	}
	return newChannel(name, kind, 1, out), nil
}

// isPlain says whether a URL asks for HTTP to another machine without TLS, or without
// checking whose it is.
func isPlain(u *url.URL) bool {
	if rpc.IsLoopback(u.Hostname()) {
		return false
	}
	for key, values := range u.Query() {
		for _, value := range values {
			switch strings.ToLower(key) {
			case "disabletls", "disabletlsverification", "insecureskipverify", "skiptlsverify":
				if slices.Contains([]string{"1", "t", "true", "y", "yes"}, strings.ToLower(value)) {
					return true
				}
			case "scheme":
				if strings.EqualFold(value, "http") {
					return true
				}
			}
		}
	}
	return strings.HasSuffix(strings.ToLower(u.Scheme), "+http")
}

var errPlain = errors.New("it sends unencrypted to another machine; leave that out, or give --insecure if it is meant")
