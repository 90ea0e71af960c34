package topology

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker/management"
)

const (
	// minDeliveryLimit of a work queue leaves room for the crashes of neighbours.
	minDeliveryLimit = 20
	// minConsumerTimeout is the longest attempt, 12 h, after the longest wait
	// within a worker, 1 h.
	minConsumerTimeout = 13 * time.Hour
)

// queue judges a queue that is there.
func (j *judge) queue(subject string, q inForce) {
	if q.Type != "quorum" || !q.Durable {
		severity := loss
		if q.Name == j.names.Requests() {
			severity = warning
		}
		j.add(severity, subject, "queue-type", "quorum, durable", kindOf(q.Type, q.Durable),
			"It loses messages with its node, and counts and delays nothing. Delete it once it is empty; the gateway declares it anew.")
		return
	}
	switch q.Name {
	case j.names.Dead():
		j.keeps(subject, q, loss, "A dead letter")
		if x := q.argumentFirst(settingDeadLetter); x != "" {
			j.add(warning, subject, settingDeadLetter, "none", x, "Dead letters that a consumer refuses go on from here. "+j.remedy(q, settingDeadLetter))
		}
	case j.names.Status():
		j.keeps(subject, q, loss, "A status event")
		if single := q.Arguments["x-"+settingSingleActive]; single != true {
			j.add(warning, subject, settingSingleActive, "true", fmt.Sprint(single),
				"Several gateways store events at once, out of order. "+j.remedy(q, settingSingleActive))
		}
		j.patient(subject, q, "A store that is away for long makes the gateway take all its events again.")
	case j.names.Requests():
		j.keeps(subject, q, warning, "A worker's request")
	default:
		j.work(subject, q)
	}
}

// arguments judges whether the gateway can declare a queue that is there: only
// with the very arguments that it has.
func (j *judge) arguments(t thing) {
	var others []string
	found := j.view.queues[t.queue.Name].Arguments
	keys := maps.Clone(found)
	if keys == nil {
		keys = management.Table{}
	}
	maps.Copy(keys, t.queue.Arguments)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if has, wants := argument(found[key]), argument(t.queue.Arguments[key]); has != wants {
			others = append(others, fmt.Sprintf("%s is %s, not %s", key, has, wants))
		}
	}
	if len(others) > 0 {
		j.add(warning, t.subject, checkArguments, "as the gateway declares it", strings.Join(others, "; "), fmt.Sprintf(
			"The gateway can't declare it: nothing that needs it works. Delete it once it is empty, rabbitmqctl -p %s delete_queue %s --if-empty; "+
				"the gateway declares it anew.", quote(j.vhost), quote(t.queue.Name)))
	}
}

func argument(v any) string {
	switch v := v.(type) {
	case nil:
		return "unset"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// keeps judges a queue that is to keep what it has until it was taken.
func (j *judge) keeps(subject string, q inForce, severity adminv1.Severity, what string) {
	if limit := q.deliveryLimit(); limit >= 0 {
		j.add(severity, subject, settingDeliveryLimit, "-1", fmt.Sprint(limit),
			what+" that was returned that often is dropped; dead letters bring a count along. "+j.remedy(q, settingDeliveryLimit))
	}
	if ttl, has := q.smaller(settingTTL); has {
		j.add(severity, subject, settingTTL, "none", millis(ttl), what+" that waits for longer is dropped. "+j.remedy(q, settingTTL))
	}
	j.endless(subject, q, severity)
	full, problem := severity, what+" beyond that is dropped. "
	if q.overflow() == rejectPublish {
		full, problem = warning, what+" beyond that is refused, and waits with who sends it. "
	}
	for _, setting := range []string{settingMaxLength, settingMaxBytes} {
		if limit, has := q.smaller(setting); has {
			j.add(full, subject, setting, "none", fmt.Sprint(limit), problem+j.remedy(q, setting))
		}
	}
}

func (j *judge) endless(subject string, q inForce, severity adminv1.Severity) {
	if after, has := q.smaller(settingExpires); has {
		j.add(severity, subject, settingExpires, "never", "after "+millis(after),
			"The queue goes, with all that is in it, when nobody has consumed it for that long. "+j.remedy(q, settingExpires))
	}
}

func (j *judge) patient(subject string, q inForce, problem string) {
	if d := q.consumerTimeout(); d < minConsumerTimeout {
		j.add(warning, subject, settingConsumerTimeout, fmt.Sprintf("%s or more", minConsumerTimeout), d.String(),
			problem+" "+j.remedy(q, settingConsumerTimeout))
	}
}

// work judges the queue of a task type.
func (j *judge) work(subject string, q inForce) {
	j.deadLettering(subject, q)
	j.endless(subject, q, loss)
	switch limit := q.deliveryLimit(); {
	case limit < 0:
		j.add(warning, subject, settingDeliveryLimit, fmt.Sprintf("%d or more", minDeliveryLimit), "none",
			"A task that kills every worker before it has started goes on for ever. "+j.remedy(q, settingDeliveryLimit))
	case limit < minDeliveryLimit:
		j.add(warning, subject, settingDeliveryLimit, fmt.Sprintf("%d or more", minDeliveryLimit), fmt.Sprint(limit),
			"Tasks die of crashes and lost connections that were not their fault. "+j.remedy(q, settingDeliveryLimit))
	}
	j.patient(subject, q, "A task that takes longer is started again beside itself.")
	if ttl, has := q.smaller(settingTTL); has {
		j.add(warning, subject, settingTTL, "none", millis(ttl),
			"Tasks that wait for longer become dead letters of the cause EXPIRED. "+j.remedy(q, settingTTL))
	}
	for _, setting := range []string{settingMaxLength, settingMaxBytes} {
		if limit, has := q.smaller(setting); has {
			j.add(warning, subject, setting, "none", fmt.Sprint(limit),
				"Submissions beyond that fail as SUBMISSION_UNKNOWN; tasks that wait for a retry count too. "+
					"Limit the type's queue by its options instead. "+j.remedy(q, setting))
		}
	}
	if retried := q.retried(); retried != "" {
		j.add(warning, subject, settingRetry, "disabled", retried,
			"Tasks that a worker gives back wait before another one gets them. "+j.remedy(q, settingRetry))
	}
	if single := q.Arguments["x-"+settingSingleActive]; single == true {
		j.add(warning, subject, settingSingleActive, "false", "true", "Only one worker gets tasks of this type. "+j.remedy(q, settingSingleActive))
	}
}

// deadLettering judges whether what dies in a work queue becomes a dead letter,
// at least once.
func (j *judge) deadLettering(subject string, q inForce) {
	if x := q.argumentFirst(settingDeadLetter); x != j.names.Dead() {
		if x == "" {
			x = "none"
		}
		j.add(loss, subject, settingDeadLetter, j.names.Dead(), x, "Tasks that are given up do not become dead letters. "+j.remedy(q, settingDeadLetter))
	}
	if s := q.strategy(); s != "at-least-once" {
		j.add(loss, subject, settingDeadStrategy, "at-least-once", s,
			"A dead letter is lost when its queue can't take it at once. "+j.remedy(q, settingDeadStrategy))
	}
	if o := q.overflow(); o != rejectPublish {
		j.add(loss, subject, settingOverflow, rejectPublish, o,
			"Dead letters are moved at most once, without any error, and tasks beyond a limit are dropped. "+j.remedy(q, settingOverflow))
	}
	if key := q.argumentFirst(settingDeadKey); key != "" {
		j.add(warning, subject, settingDeadKey, "none", key,
			"Queues that are bound to "+j.names.Dead()+" by task type get no dead letters of this one. "+j.remedy(q, settingDeadKey))
	}
}

func millis(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }
