package topology

import (
	"context"
	"errors"
	"regexp"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/management"
)

// view is what the management API shows at one time.
type view struct {
	overview management.Overview
	// nodes are nil if the user may not see them.
	nodes     []management.Node
	exchanges map[string]management.Exchange
	queues    map[string]management.Queue
	// deadLetters are how many wait in their queues to be taken.
	deadLetters map[string]int64
	// bindings are what is bound to exchanges.
	bindings map[string][]management.Binding
	// policies are those of exchanges, by their names.
	policies map[string]management.Table
}

// look asks the management API for everything that is to be judged.
func look(ctx context.Context, api *management.Client, names broker.Names) (*view, error) {
	v := &view{
		exchanges: map[string]management.Exchange{}, queues: map[string]management.Queue{},
		bindings: map[string][]management.Binding{}, policies: map[string]management.Table{},
	}
	var err error
	if v.overview, err = api.Overview(ctx); err != nil {
		return nil, err
	}
	if v.nodes, err = api.Nodes(ctx); err != nil && !errors.Is(err, management.ErrUnauthorized) {
		return nil, err
	}
	if err := v.lookAtExchanges(ctx, api, names); err != nil {
		return nil, err
	}
	return v, v.lookAtQueues(ctx, api, names)
}

func (v *view) lookAtExchanges(ctx context.Context, api *management.Client, names broker.Names) error {
	prefix := regexp.QuoteMeta(names.Namespace)
	exchanges, err := api.Exchanges(ctx, "^"+prefix+`\.(tasks|status|dead|announce|control)$`)
	if err != nil {
		return err
	}
	for _, x := range exchanges {
		v.exchanges[x.Name] = x
		if v.bindings[x.Name], err = v.lookAtBindings(ctx, api, names, x.Name); err != nil {
			return err
		}
		if x.Policy == "" || v.policies[x.Policy] != nil {
			continue
		}
		definition, err := api.Policy(ctx, x.Policy)
		// It may have been removed in between.
		if err != nil && !errors.Is(err, management.ErrNotFound) {
			return err
		}
		v.policies[x.Policy] = definition
	}
	return nil
}

// lookAtBindings leaves those of workers' own queues out, which come and go.
func (v *view) lookAtBindings(ctx context.Context, api *management.Client, names broker.Names, exchange string) ([]management.Binding, error) {
	if exchange == names.Control() {
		return nil, nil
	}
	return api.Bindings(ctx, exchange)
}

func (v *view) lookAtQueues(ctx context.Context, api *management.Client, names broker.Names) error {
	prefix := "^" + regexp.QuoteMeta(names.Namespace)
	queues, err := api.Queues(ctx, prefix+`\.(work\.|(status|dead|requests)$)`)
	if err != nil {
		return err
	}
	for _, q := range queues {
		v.queues[q.Name] = q
	}
	v.deadLetters, err = api.DeadLetters(ctx, prefix+`\.work\.`)
	return err
}
