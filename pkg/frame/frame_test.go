package frame_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/warrenmq/warren/pkg/frame"
)

func TestFramesPassAsTheyAre(t *testing.T) {
	t.Parallel()
	c := frame.Codec()
	require.Equal(t, "proto", c.Name(), "else the content type is not that of protobuf")
	for _, b := range [][]byte{{}, {0xff, 0, 1}, []byte("no protobuf")} {
		sent, err := c.Marshal(&frame.Frame{Bytes: b})
		require.NoError(t, err)
		var got frame.Frame
		require.NoError(t, c.Unmarshal(sent, &got))
		require.Equal(t, string(b), string(got.Bytes))
	}
}

func TestAFrameKeepsItsBytes(t *testing.T) {
	t.Parallel()
	buffer := []byte("abc")
	var got frame.Frame
	require.NoError(t, frame.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(buffer)}, &got))
	copy(buffer, "xyz")
	require.Equal(t, "abc", string(got.Bytes))
}

func TestOtherMessagesAreProtobuf(t *testing.T) {
	t.Parallel()
	c := frame.Codec()
	sent, err := c.Marshal(wrapperspb.String("x"))
	require.NoError(t, err)
	var raw frame.Frame
	require.NoError(t, c.Unmarshal(sent, &raw))
	var got wrapperspb.StringValue
	require.NoError(t, c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw.Bytes)}, &got))
	require.Equal(t, "x", got.Value)
	require.Error(t, c.Unmarshal(mem.BufferSlice{mem.SliceBuffer([]byte{0xff})}, &got))
}
