//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// probeTimeout bounds one question to a node that is starting.
const probeTimeout = 2 * time.Second

// wordsQuoted is how many lines of a log an error quotes. A start that fails prints its reason above a long report.
const wordsQuoted = 60

// awaitReady returns once the node has started to the end and answers, or with an error that tells what it last printed.
func (n *Node) awaitReady(ctx context.Context, proc *group, notices *notifier) error {
	notYet := errors.New("no word from it")
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	ready := notices.ready
	var probes <-chan time.Time
	for {
		select {
		case <-ready:
			ready, probes = nil, tick.C
		case <-probes:
			if notYet = n.probe(ctx); notYet == nil {
				return nil
			}
		case <-proc.done:
			return fmt.Errorf("%w: it ended at its start%s", ErrNotRunning, n.lastWords(proc.err))
		case <-ctx.Done():
			return fmt.Errorf("waiting until it is ready: %w (%w)%s", context.Cause(ctx), notYet, n.lastWords(nil))
		}
	}
}

func (n *Node) probe(ctx context.Context) error {
	conn, err := amqp.DialConfig(n.amqpURL, amqp.Config{Dial: amqp.DefaultDial(probeTimeout)})
	if err != nil {
		return fmt.Errorf("logging in over AMQP: %w", err)
	}
	if err := conn.Close(); err != nil {
		return fmt.Errorf("closing a connection: %w", err)
	}
	if n.managementURL == "" {
		return nil
	}
	return probeHTTP(ctx, n.managementURL+"/api/overview")
}

func probeHTTP(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking management: %w", err)
	}
	// One connection for one question: nothing is left over for leak checks to find.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking management: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("asking management: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking management: %w", errors.New(response.Status))
	}
	return nil
}

// lastWords quotes the ends of the node's logs, since temporary ones are gone when the error is read.
func (n *Node) lastWords(exit error) string {
	words := ""
	if exit != nil {
		words = ": " + exit.Error()
	}
	for _, name := range []string{"console.log", "node.log"} {
		b, err := os.ReadFile(filepath.Join(n.dir.path, "log", name))
		if err == nil && len(b) > 0 {
			words += fmt.Sprintf("\n%s ends with:\n%s", name, lastLines(b, wordsQuoted))
		}
	}
	return words
}
