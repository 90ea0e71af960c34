package management

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Table are arguments, or what a policy defines. Numbers are float64, as in
// encoding/json.
type Table map[string]any

// UnmarshalJSON takes anything but an object for an empty table: RabbitMQ shows
// an empty one as a list, or as nothing, here and there.
func (t *Table) UnmarshalJSON(b []byte) error {
	*t = nil
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return nil
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*t = m
	return nil
}

// Overview is what the API says of the broker as a whole.
type Overview struct {
	// Version is that of the node that answers, such as `4.3.6`.
	Version string `json:"rabbitmq_version"`
	// StatisticsOff says that counts of messages are not shown.
	StatisticsOff bool `json:"disable_stats"`
}

// Overview asks about the broker.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	var o Overview
	err := c.get(ctx, &o, nil, "overview")
	return o, err
}

// Node is a node of the cluster.
type Node struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
	// MemoryAlarm and DiskAlarm are in force: the cluster accepts nothing.
	MemoryAlarm bool `json:"mem_alarm"`
	DiskAlarm   bool `json:"disk_free_alarm"`
}

// Nodes asks for the nodes. It fails with [ErrUnauthorized] for a user without
// the tag monitoring.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	err := c.get(ctx, &nodes, columns("name", "running", "mem_alarm", "disk_free_alarm"), "nodes")
	return nodes, err
}

// Queue is a queue and what is in force for it.
type Queue struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Durable   bool   `json:"durable"`
	Arguments Table  `json:"arguments"`
	// Policy and OperatorPolicy are the names of those that apply, Effective is
	// what they define together, which does not show what it does together with
	// the arguments.
	Policy         string `json:"policy"`
	OperatorPolicy string `json:"operator_policy"`
	Effective      Table  `json:"effective_policy_definition"`
	// Members are the nodes that hold the messages of a quorum queue.
	Members []string `json:"members"`
}

// Queues asks for the queues whose names match the pattern, a regular
// expression. Others are not looked at.
func (c *Client) Queues(ctx context.Context, pattern string) ([]Queue, error) {
	query := columns("name", "type", "durable", "arguments", "policy", "operator_policy", "effective_policy_definition", "members")
	// With statistics, policies are some seconds old.
	query.Set("disable_stats", "true")
	return list[Queue](ctx, c, pattern, query, "queues", c.vhost)
}

// DeadLetters asks for the queues that match the pattern and have messages that
// are dead and not yet accepted by the queues of the dead-letter exchange, and
// how many. It is some seconds old. Without statistics there are none.
func (c *Client) DeadLetters(ctx context.Context, pattern string) (map[string]int64, error) {
	queues, err := list[struct {
		Name  string `json:"name"`
		Count int64  `json:"messages_dlx"`
	}](ctx, c, pattern, columns("name", "messages_dlx"), "queues", c.vhost)
	counts := map[string]int64{}
	for _, q := range queues {
		if q.Count > 0 {
			counts[q.Name] = q.Count
		}
	}
	return counts, err
}

// Exchange is an exchange.
type Exchange struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Durable   bool   `json:"durable"`
	Arguments Table  `json:"arguments"`
	// Policy is the name of the one that applies.
	Policy string `json:"policy"`
}

// Exchanges asks for the exchanges whose names match the pattern, a regular
// expression.
func (c *Client) Exchanges(ctx context.Context, pattern string) ([]Exchange, error) {
	return list[Exchange](ctx, c, pattern, columns("name", "type", "durable", "arguments", "policy"), "exchanges", c.vhost)
}

// Binding binds something to an exchange.
type Binding struct {
	Destination string `json:"destination"`
	// DestinationType is queue or exchange.
	DestinationType string `json:"destination_type"`
	RoutingKey      string `json:"routing_key"`
}

// Bindings asks for what is bound to an exchange, which is nothing if there is
// no such exchange.
func (c *Client) Bindings(ctx context.Context, exchange string) ([]Binding, error) {
	var bindings []Binding
	err := c.get(ctx, &bindings, columns("destination", "destination_type", "routing_key"), "exchanges", c.vhost, exchange, "bindings", "source")
	return bindings, err
}

// Policy asks for what a policy defines.
func (c *Client) Policy(ctx context.Context, name string) (Table, error) {
	var p struct {
		Definition Table `json:"definition"`
	}
	err := c.get(ctx, &p, nil, "policies", c.vhost, name)
	return p.Definition, err
}

func columns(names ...string) url.Values { return url.Values{"columns": {strings.Join(names, ",")}} }

// Bounds of a list that is read page by page. RabbitMQ allows 500 to a page.
const (
	pageSize = 500
	maxPages = 200
)

func list[T any](ctx context.Context, c *Client, pattern string, query url.Values, path ...string) ([]T, error) {
	query.Set("name", pattern)
	query.Set("use_regex", "true")
	query.Set("page_size", strconv.Itoa(pageSize))
	var all []T
	for number := 1; number <= maxPages; number++ {
		query.Set("page", strconv.Itoa(number))
		var page struct {
			Items []T `json:"items"`
			Pages int `json:"page_count"`
		}
		if err := c.get(ctx, &page, query, path...); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if number >= page.Pages {
			return all, nil
		}
	}
	return nil, fmt.Errorf("the management API has more than %d %s that match", pageSize*maxPages, path[0])
}
