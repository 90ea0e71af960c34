package control

import (
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

const (
	// rateWindow is the time that rates are about.
	rateWindow = time.Minute
	// ratePeriod is the least time between two samples that are kept.
	ratePeriod = 5 * time.Second
)

// sample is what a worker had counted of its types at a time.
type sample struct {
	at    time.Time
	types map[string]*brokerv1.TypeLoad
}

// rates has the samples of about the last minute, the oldest first. The last one is
// replaced while it is too young to be kept.
type rates struct{ samples []sample }

func (r *rates) add(loads []*brokerv1.TypeLoad, now time.Time) {
	s := sample{now, make(map[string]*brokerv1.TypeLoad, len(loads))}
	for _, l := range loads {
		s.types[l.Type] = l
	}
	if n := len(r.samples); n > 1 && now.Sub(r.samples[n-2].at) < ratePeriod {
		r.samples = r.samples[:n-1]
	}
	r.samples = append(r.samples, s)
	for len(r.samples) > 2 && now.Sub(r.samples[0].at) > rateWindow {
		r.samples = r.samples[1:]
	}
}

// pace is per second. Without two samples, or if the worker has not counted on, it
// is 0.
type pace struct{ started, succeeded, failed float64 }

func (r *rates) of(taskType string) pace {
	n := len(r.samples)
	if n < 2 {
		return pace{}
	}
	last := r.samples[n-1]
	b := last.types[taskType]
	for _, first := range r.samples[:n-1] {
		a := first.types[taskType]
		seconds := last.at.Sub(first.at).Seconds()
		if a == nil || b == nil || seconds <= 0 {
			continue
		}
		per := func(from, to int64) float64 { return float64(max(to-from, 0)) / seconds }
		return pace{per(a.Started, b.Started), per(a.Succeeded, b.Succeeded), per(a.Failed, b.Failed)}
	}
	return pace{}
}
