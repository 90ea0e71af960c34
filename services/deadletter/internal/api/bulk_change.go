package api

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// change is a call that does something with many dead letters, each for itself.
type change struct {
	s       *Service
	action  store.BulkAction
	call    store.Call
	audit   store.BulkAudit
	outcome outcome
}

// outcome is what became of those that were selected.
type outcome struct {
	matched, changed, skipped int64
	problems                  []*deadletterv1.BulkProblem
}

func (s *Service) newChange(ctx context.Context, action store.BulkAction, x *deadletterv1.DeadLetterSelector, method, reason string) *change {
	return &change{s: s, action: action, call: callOf(ctx, method, reason), audit: auditOf(x)}
}

// auditOf says what a call with a selector is about.
func auditOf(x *deadletterv1.DeadLetterSelector) store.BulkAudit {
	switch by := x.GetSelector().(type) {
	case *deadletterv1.DeadLetterSelector_Token:
		return store.BulkAudit{Resource: store.ResourceSelection + by.Token}
	case *deadletterv1.DeadLetterSelector_GroupId:
		return store.BulkAudit{Resource: store.ResourceGroup + by.GroupId}
	case *deadletterv1.DeadLetterSelector_Filter:
		return store.BulkAudit{Resource: store.ResourceDeadLetter + "-", Changes: []store.AuditChange{{Field: "filter", After: by.Filter}}}
	}
	return store.BulkAudit{Resource: store.ResourceDeadLetter + "-"}
}

// run changes what a selector selects, until the caller's deadline at the latest. It
// fails if nothing was changed then, or if the caller has left.
func (c *change) run(ctx context.Context, x *deadletterv1.DeadLetterSelector) error {
	work, cancel := beforeDeadline(ctx, maxBulkTime)
	defer cancel()
	selected, err := c.s.selected(work, x, c.action.From()...)
	if err != nil {
		return answer(err)
	}
	return c.finish(ctx, c.changeAll(work, x, &selected, x.GetToken() != ""))
}

// finish says how it went. When the time was too short for all of them the outcome says
// how many are left; any other end before the last of them is an error, whose metadata
// says how far it came.
func (c *change) finish(ctx context.Context, err error) error {
	c.s.cfg.Logger.InfoContext(ctx, "an operator has changed dead letters", "method", c.call.Method, "resource", c.audit.Resource,
		"matched", c.outcome.matched, "changed", c.outcome.changed, "skipped", c.outcome.skipped, "reason", c.call.Reason)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || c.outcome.changed == 0:
		return answer(err)
	case errors.Is(err, context.DeadlineExceeded):
		return nil // the counts tell
	}
	return explain(err).With("changed", strconv.FormatInt(c.outcome.changed, 10)).With("matched", strconv.FormatInt(c.outcome.matched, 10))
}

// changeAll changes members batch by batch, and ends early with an error that the next
// batch would meet too.
func (c *change) changeAll(ctx context.Context, x *deadletterv1.DeadLetterSelector, selected *store.Selection, versioned bool) error {
	c.missing(ctx, x, selected)
	c.outcome.matched += int64(len(selected.Members))
	c.audit.Changes = append(c.audit.Changes, auditOfMembers(x, selected)...)
	for rest := selected.Members; len(rest) > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(len(rest), store.MaxBulk)
		done, err := c.s.cfg.Store.ChangeMembers(ctx, store.BulkRequest{
			Action: c.action, Members: rest[:n], Versioned: versioned, By: c.call, Audit: c.audit,
		})
		if err != nil {
			return err
		}
		for i := range done.Items {
			c.add(ctx, &done.Items[i])
		}
		c.audit.Event, c.audit.Changed, c.audit.Skipped = done.Event, c.outcome.changed, c.outcome.skipped
		rest = rest[n:]
	}
	return nil
}

// maxAuditedIDs bounds the ids in an audit event.
const maxAuditedIDs = 100

// auditOfMembers says exactly which dead letters a call is about: those that were named,
// and the digest of all.
func auditOfMembers(x *deadletterv1.DeadLetterSelector, selected *store.Selection) []store.AuditChange {
	changes := []store.AuditChange{
		{Field: "digest", After: hex.EncodeToString(selected.Digest)}, {Field: "selected", After: strconv.Itoa(len(selected.Members))},
	}
	if ids := x.GetIds().GetDeadLetterIds(); len(ids) > 0 {
		changes = append(changes, store.AuditChange{Field: "dead_letter_ids", After: strings.Join(ids[:min(len(ids), maxAuditedIDs)], " ")})
	}
	return changes
}

// left is how many were not looked at.
func (o *outcome) left() int64 { return o.matched - o.changed - o.skipped }

// missing tells of ids that were named and belong to nothing.
func (c *change) missing(ctx context.Context, x *deadletterv1.DeadLetterSelector, selected *store.Selection) {
	gone := int64(distinct(x.GetIds().GetDeadLetterIds()) - len(selected.Members))
	if x.GetIds() == nil || gone <= 0 {
		return
	}
	c.outcome.matched += gone
	c.outcome.skipped += gone
	c.audit.Skipped = c.outcome.skipped
	for _, id := range selected.Missing {
		c.problem(ctx, &store.BulkItem{ID: id, Obstacle: store.ObstacleGone})
	}
}

func (c *change) add(ctx context.Context, item *store.BulkItem) {
	if item.Obstacle == store.ObstacleNone {
		c.outcome.changed++
		return
	}
	c.outcome.skipped++
	if item.Obstacle != store.ObstacleDone {
		c.problem(ctx, item)
	}
}

func (c *change) problem(ctx context.Context, item *store.BulkItem) {
	if len(c.outcome.problems) < maxProblems {
		v, message := verdictOf(item)
		if item.Obstacle == store.ObstacleInReplay {
			if holder, err := c.s.cfg.Store.Holder(ctx, item.ID); err == nil && !holder.Since.IsZero() {
				message = holder.String() + "; wait for the outcome"
			}
		}
		c.outcome.problems = append(c.outcome.problems, &deadletterv1.BulkProblem{DeadLetterId: item.ID, Verdict: v, Message: message})
	}
}
