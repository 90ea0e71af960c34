package telemetry

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Labels makes the attributes of measurements, each set once: recording with them again
// allocates nothing. All that was asked for is kept, so its keys must be bounded.
type Labels[K comparable] struct {
	attributes func(K) []attribute.KeyValue

	mu    sync.RWMutex
	known map[K]*LabelSet
}

// LabelSet is one set of attributes, as options of the calls that measure. They are to
// be passed on as slices, which are not to be changed.
type LabelSet struct {
	Add     []metric.AddOption
	Record  []metric.RecordOption
	Observe []metric.ObserveOption
}

// NewLabels says what attributes a key stands for.
func NewLabels[K comparable](attributes func(K) []attribute.KeyValue) *Labels[K] {
	return &Labels[K]{attributes: attributes, known: map[K]*LabelSet{}}
}

// Of is the set of a key.
func (l *Labels[K]) Of(key K) *LabelSet {
	l.mu.RLock()
	set := l.known[key]
	l.mu.RUnlock()
	if set != nil {
		return set
	}
	set = NewLabelSet(l.attributes(key)...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[key] = set
	return set
}

// NewLabelSet makes a set of attributes.
func NewLabelSet(attributes ...attribute.KeyValue) *LabelSet {
	option := metric.WithAttributeSet(attribute.NewSet(attributes...))
	return &LabelSet{
		Add: []metric.AddOption{option}, Record: []metric.RecordOption{option}, Observe: []metric.ObserveOption{option},
	}
}
