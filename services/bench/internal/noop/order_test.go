package noop

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestPayloadsHaveTheirSizeAndOrder(t *testing.T) {
	for _, order := range []Order{
		{},
		{Batch: 1, Tasks: 2},
		{Batch: 3, Take: 10 * time.Millisecond},
		{Batch: 1<<32 - 1, Tasks: 1<<32 - 1, Take: math.MaxInt64, FailFirst: true},
	} {
		payload := order.Payload()
		require.Equal(t, PayloadBytes, proto.Size(payload))
		got, err := OrderOf(payload)
		require.NoError(t, err)
		require.Equal(t, order, got)
	}
	for _, value := range [][]byte{[]byte("short"), bytes.Repeat([]byte{0xff}, valueBytes), append(make([]byte, atFailFirst), append([]byte{2}, make([]byte, valueBytes-atFailFirst-1)...)...)} {
		_, err := OrderOf(wrapperspb.Bytes(value))
		require.Error(t, err)
	}
}

func FuzzOrders(f *testing.F) {
	f.Add(Order{Batch: 1, Tasks: 2, Take: time.Second, FailFirst: true}.Payload().GetValue())
	f.Fuzz(func(t *testing.T, value []byte) {
		order, err := OrderOf(wrapperspb.Bytes(value))
		if err != nil {
			return
		}
		again, err := OrderOf(order.Payload())
		require.NoError(t, err)
		require.Equal(t, order, again)
	})
}
