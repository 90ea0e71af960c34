package noop

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// PayloadBytes is the encoded size of each payload.
const PayloadBytes = 256

// valueBytes leaves out the tag and the two bytes of the length.
const valueBytes = PayloadBytes - 3

// Where the fields are in a value; what follows is 0.
const (
	atBatch     = 0
	atTasks     = 4
	atTake      = 8
	atFailFirst = 16
)

// RetryDelay is after how long a task is tried again that was ordered to fail.
const RetryDelay = 100 * time.Millisecond

// Order is what a payload asks of the worker.
type Order struct {
	// Batch is a number of its own for each set of tasks that are counted together.
	Batch uint32
	// Tasks is how many the batch has; the worker reports when it has started so
	// many. 0: it reports the start of each instead.
	Tasks uint32
	// Take is how long the handler takes. Default: no time at all.
	Take time.Duration
	// FailFirst lets the first attempt fail, and asks for the next one after
	// RetryDelay.
	FailFirst bool
}

// Payload is the input of the method, [PayloadBytes] long when it is encoded.
func (o Order) Payload() *wrapperspb.BytesValue {
	value := make([]byte, valueBytes)
	binary.BigEndian.PutUint32(value[atBatch:], o.Batch)
	binary.BigEndian.PutUint32(value[atTasks:], o.Tasks)
	binary.BigEndian.PutUint64(value[atTake:], uint64(max(o.Take, 0)))
	if o.FailFirst {
		value[atFailFirst] = 1
	}
	return wrapperspb.Bytes(value)
}

// OrderOf reads the order from a payload.
func OrderOf(payload *wrapperspb.BytesValue) (Order, error) {
	value := payload.GetValue()
	if len(value) != valueBytes {
		return Order{}, errors.New("this is no payload of the benchmark's")
	}
	take := binary.BigEndian.Uint64(value[atTake:])
	if take > math.MaxInt64 || value[atFailFirst] > 1 {
		return Order{}, errors.New("this payload has an order that is not understood")
	}
	return Order{
		Batch: binary.BigEndian.Uint32(value[atBatch:]), Tasks: binary.BigEndian.Uint32(value[atTasks:]),
		Take: time.Duration(take), FailFirst: value[atFailFirst] == 1,
	}, nil
}
