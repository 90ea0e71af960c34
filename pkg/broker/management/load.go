package management

import (
	"context"
	"regexp"
)

// Load is how much there is to do in a queue, as of up to some seconds ago. What
// the API does not say, because statistics are off or the queue is new, is nil.
type Load struct {
	// Unacknowledged counts the messages that consumers have fetched.
	Unacknowledged *int64
	// Delayed counts those that wait for their delivery time, of a quorum queue.
	Delayed *int64
	// PublishRate is how many messages come in per second. What goes out over
	// AMQP 1.0 the API does not count.
	PublishRate *float64
}

// Loads asks for the loads of the queues whose names match the pattern, a regular
// expression, by name.
func (c *Client) Loads(ctx context.Context, pattern string) (map[string]Load, error) {
	queues, err := list[struct {
		Name           string `json:"name"`
		Unacknowledged *int64 `json:"messages_unacknowledged"`
		Delayed        *int64 `json:"messages_delayed"`
		Stats          struct {
			Publish struct {
				Rate float64 `json:"rate"`
			} `json:"publish_details"`
		} `json:"message_stats"`
	}](ctx, c, pattern, columns("name", "messages_unacknowledged", "messages_delayed", "message_stats.publish_details.rate"), "queues", c.vhost)
	if err != nil {
		return nil, err
	}
	loads := make(map[string]Load, len(queues))
	for _, q := range queues {
		load := Load{Unacknowledged: q.Unacknowledged, Delayed: q.Delayed}
		if q.Unacknowledged != nil {
			// With statistics, a queue that nobody has published to has no rate.
			load.PublishRate = &q.Stats.Publish.Rate
		}
		loads[q.Name] = load
	}
	return loads, nil
}

// Exactly is the pattern of one name.
func Exactly(name string) string { return Beginning(name) + "$" }

// Beginning is the pattern of all names that begin so.
func Beginning(prefix string) string { return "^" + regexp.QuoteMeta(prefix) }
