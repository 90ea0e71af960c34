package notify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/googlechat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/mattermost"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/rocketchat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/teams"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/zulip"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/opsgenie"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ntfy"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/generic"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// chats are the services that can be sent to. Those of shoutrrr that call somebody while
// they are only configured, such as Matrix, are not among them.
var chats = map[string]func() types.Service{
	"discord": func() types.Service { return &discord.Service{} }, "generic": func() types.Service { return &generic.Service{} },
	"googlechat": func() types.Service { return &googlechat.Service{} }, "gotify": func() types.Service { return &gotify.Service{} },
	"mattermost": func() types.Service { return &mattermost.Service{} }, "ntfy": func() types.Service { return &ntfy.Service{} },
	"opsgenie": func() types.Service { return &opsgenie.Service{} }, "pagerduty": func() types.Service { return &pagerduty.Service{} },
	"pushover": func() types.Service { return &pushover.Service{} }, "rocketchat": func() types.Service { return &rocketchat.Service{} },
	"slack": func() types.Service { return &slack.Service{} }, "teams": func() types.Service { return &teams.Service{} },
	"telegram": func() types.Service { return &telegram.Service{} }, "zulip": func() types.Service { return &zulip.Service{} },
}

// maxProblem bounds what is told of a failed attempt, in bytes.
const maxProblem = 300

// chat sends to a service of shoutrrr, whose sends take no context: an attempt that does
// not end in time goes on, and the next one waits for it. So there is one at most, and
// the service, which keeps state, is not used twice at a time.
type chat struct {
	service types.Service
	hidden  scrubber
	// turn is taken by the attempt under way.
	turn    chan struct{}
	running sync.WaitGroup
}

func newChat(kind string, u *url.URL, insecure bool) (*chat, error) {
	service, ok := chats[kind]
	if !ok {
		known := append(slices.Collect(maps.Keys(chats)), kindMail)
		slices.Sort(known)
		return nil, fmt.Errorf("its URL begins with none of %s", strings.Join(known, ", "))
	}
	if isPlain(u) && !insecure {
		return nil, errPlain
	}
	c := &chat{service: service(), hidden: scrubberOf(u), turn: make(chan struct{}, 1)}
	if err := c.configure(kind, u); err != nil {
		return nil, fmt.Errorf("shoutrrr's service %s does not take it: %s", kind, c.hidden.clean(err))
	}
	return c, nil
}

func (c *chat) configure(kind string, u *url.URL) error {
	if u.Scheme != kind {
		custom, ok := c.service.(types.CustomURLService)
		if !ok {
			return errors.New("its URL has no form with a plus sign")
		}
		var err error
		if u, err = custom.GetConfigURLFromCustom(u); err != nil {
			return err
		}
	}
	return c.service.Initialize(u, nil)
}

func (c *chat) send(ctx context.Context, m *message) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return errors.New("an earlier attempt has not ended")
	}
	sent := make(chan error, 1)
	c.running.Go(func() {
		defer func() { <-c.turn }()
		sent <- c.attempt(m)
	})
	select {
	case err := <-sent:
		if err != nil {
			return errors.New(c.hidden.clean(err))
		}
		return nil
	case <-ctx.Done():
		return errors.New("it has not answered in time")
	}
}

// attempt returns what the library makes of an answer, a panic included.
func (c *chat) attempt(m *message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the library has panicked: %v", p)
		}
	}()
	return c.service.Send(m.title+"\n\n"+m.text, &types.Params{})
}

// close waits for the attempt under way, which the library's own bounds end. One that
// they do not end goes with the process.
func (c *chat) close() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.running.Wait()
	}()
	timer := time.NewTimer(sendTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}
