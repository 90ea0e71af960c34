package service

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// told is who can be told, and what the webhook of the command line is told of.
type told struct {
	channels []*notify.Channel
	// matches is the built-in rule as the intake asks it, builtIn as the API shows it; nil
	// if there is no webhook.
	matches func(*store.Arrival) bool
	builtIn *store.Rule
}

// openChannels makes the channels of the webhook and of --notify.
func openChannels(cfg *Config) (told, error) {
	t := told{matches: func(*store.Arrival) bool { return false }}
	webhook, rules, err := cfg.Webhook.open(cfg.Insecure)
	if err != nil {
		return t, err
	}
	if webhook != nil {
		shown := rules.BuiltIn()
		t = told{[]*notify.Channel{webhook.Channel()}, rules.Match, &shown}
	}
	for _, flag := range cfg.Notify {
		c, err := openChannel(flag, cfg.Insecure)
		if err != nil {
			return t, fmt.Errorf("--notify: %w", err)
		}
		if slices.ContainsFunc(t.channels, func(other *notify.Channel) bool { return other.Name() == c.Name() }) {
			return t, fmt.Errorf("--notify: the name %s is there twice", c.Name())
		}
		t.channels = append(t.channels, c)
	}
	return t, nil
}

// openChannel reads NAME=FILE. What is in the file is in no error.
func openChannel(flag string, insecure bool) (*notify.Channel, error) {
	name, file, ok := strings.Cut(flag, "=")
	if !ok || file == "" {
		if strings.Contains(flag, "://") {
			return nil, errors.New("give NAME=FILE, and put the URL into the file")
		}
		return nil, fmt.Errorf("give NAME=FILE, not %q", flag)
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		if strings.Contains(file, "://") {
			return nil, fmt.Errorf("%s: give the name of a file that holds the URL", name)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c, err := notify.NewChannel(name, string(secret), insecure)
	if err != nil {
		return nil, fmt.Errorf("%s, the file %s: %w", name, file, err)
	}
	return c, nil
}
