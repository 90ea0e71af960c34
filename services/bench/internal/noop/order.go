package noop

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// PayloadBytes is the encoded size of each payload.
const PayloadBytes = 256

// valueBytes leaves out the tag and the two bytes of the length.
const valueBytes = PayloadBytes - 3

// Order is what a payload asks of the worker.
type Order struct {
	// Batch is a number of its own for each set of tasks that are counted together.
	Batch uint32
	// Tasks is how many the batch has; the worker reports when it has started so
	// many. 0: it reports the start of each instead.
	Tasks uint32
}

// Payload is the input of the method, [PayloadBytes] long when it is encoded.
func (o Order) Payload() *wrapperspb.BytesValue {
	value := make([]byte, valueBytes)
	binary.BigEndian.PutUint32(value, o.Batch)
	binary.BigEndian.PutUint32(value[4:], o.Tasks)
	return wrapperspb.Bytes(value)
}

// orderOf reads the order from a payload.
func orderOf(payload *wrapperspb.BytesValue) (Order, error) {
	value := payload.GetValue()
	if len(value) != valueBytes {
		return Order{}, errors.New("this is no payload of the benchmark's")
	}
	return Order{Batch: binary.BigEndian.Uint32(value), Tasks: binary.BigEndian.Uint32(value[4:])}, nil
}
