package images_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

func TestContactSheetStreamsEachStepAndThenTheSheet(t *testing.T) {
	t.Parallel()
	colours := []color.RGBA{red, green, blue, yellow, red}
	request := &demov1.ContactSheetRequest{Columns: 3, CellSize: 40}
	for i, c := range colours {
		if i%2 == 0 {
			request.Images = append(request.Images, asJPEG(t, plain(c, 200, 200)))
		} else {
			request.Images = append(request.Images, asPNG(t, plain(c, 200, 200)))
		}
	}
	stream, err := dial(t).ContactSheet(t.Context(), request)
	require.NoError(t, err)
	steps, err := all(stream)
	require.NoError(t, err)
	require.Len(t, steps, len(colours))
	for i, step := range steps {
		require.EqualValues(t, i+1, step.GetPlaced())
		require.EqualValues(t, len(colours), step.GetTotal())
		require.Equal(t, i+1 == len(colours), len(step.GetSheet()) > 0, "the sheet comes last only")
	}
	sheet, err := png.Decode(bytes.NewReader(steps[len(steps)-1].GetSheet()))
	require.NoError(t, err)
	require.Equal(t, image.Pt(120, 80), sheet.Bounds().Size())
	for i, c := range colours {
		requireColour(t, c, sheet, image.Pt(i%3*40+20, i/3*40+20))
	}
	requireColour(t, white, sheet, image.Pt(2*40+20, 40+20))
}

func TestContactSheetCentresAPictureInItsCell(t *testing.T) {
	t.Parallel()
	stream, err := dial(t).ContactSheet(t.Context(), &demov1.ContactSheetRequest{
		Images: [][]byte{asPNG(t, plain(blue, 400, 100))},
	})
	require.NoError(t, err)
	steps, err := all(stream)
	require.NoError(t, err)
	sheet, err := png.Decode(bytes.NewReader(steps[0].GetSheet()))
	require.NoError(t, err)
	require.Equal(t, image.Pt(96, 96), sheet.Bounds().Size(), "one picture needs one cell")
	requireColour(t, blue, sheet, image.Pt(48, 48))
	requireColour(t, white, sheet, image.Pt(48, 20))
	requireColour(t, white, sheet, image.Pt(48, 75))
}

func TestContactSheetRefuses(t *testing.T) {
	t.Parallel()
	client := dial(t)
	fine := asPNG(t, plain(red, 4, 4))
	for name, test := range map[string]struct {
		request *demov1.ContactSheetRequest
		field   string
		words   string
	}{
		"no pictures":       {&demov1.ContactSheetRequest{}, "images", "between 1 and 100"},
		"too many pictures": {&demov1.ContactSheetRequest{Images: slices.Repeat([][]byte{fine}, 101)}, "images", "101"},
		"one is no picture": {&demov1.ContactSheetRequest{Images: [][]byte{fine, []byte("x")}}, "images[1]", "neither"},
		"one is a bomb":     {&demov1.ContactSheetRequest{Images: [][]byte{fine, fine, claiming(t, 9000, 9000)}}, "images[2]", "megapixels"},
		"too many columns":  {&demov1.ContactSheetRequest{Images: [][]byte{fine}, Columns: 11}, "columns", "between 1 and 10"},
		"a negative cell":   {&demov1.ContactSheetRequest{Images: [][]byte{fine}, CellSize: -3}, "cell_size", "between 1 and 512"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream, err := client.ContactSheet(t.Context(), test.request)
			require.NoError(t, err)
			steps, err := all(stream)
			require.Empty(t, steps)
			requireInvalid(t, err, test.field, test.words)
		})
	}
}

func TestContactSheetNamesThePictureThatIsBroken(t *testing.T) {
	t.Parallel()
	fine := asJPEG(t, quarters(200, 200))
	stream, err := dial(t).ContactSheet(t.Context(), &demov1.ContactSheetRequest{
		Images: [][]byte{fine, fine[:len(fine)/2], fine},
	})
	require.NoError(t, err)
	steps, err := all(stream)
	require.Len(t, steps, 1)
	requireInvalid(t, err, "images[1]", "decoded")
}

func TestContactSheetStopsWithItsCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := dial(t).ContactSheet(ctx, &demov1.ContactSheetRequest{
		Images: slices.Repeat([][]byte{asJPEG(t, quarters(500, 500))}, 100),
	})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	cancel()
	_, err = all(stream)
	require.Equal(t, codes.Canceled, status.Code(err))
}

// all is what the stream has left, and the error that ended it.
func all(stream grpc.ServerStreamingClient[demov1.ContactSheetResponse]) ([]*demov1.ContactSheetResponse, error) {
	var steps []*demov1.ContactSheetResponse
	for {
		step, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return steps, nil
		}
		if err != nil {
			return steps, err
		}
		steps = append(steps, step)
	}
}
