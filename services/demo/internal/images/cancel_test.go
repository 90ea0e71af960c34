package images

import (
	"context"
	"image"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

// A client that has gone sees CANCELLED whatever its server does; here the
// work itself is asked to stop.
func TestWorkStopsWhenItsContextHasEnded(t *testing.T) {
	t.Parallel()
	picture := image.NewRGBA(image.Rect(0, 0, 64, 64))
	encoded, err := encode(picture, demov1.ImageFormat_IMAGE_FORMAT_PNG)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err = decode(ctx, "image", encoded)
	require.Equal(t, codes.Canceled, status.Code(err))
	_, err = scale(ctx, picture, image.Pt(8, 8))
	require.Equal(t, codes.Canceled, status.Code(err))
	_, err = NewService().Thumbnail(ctx, &demov1.ThumbnailRequest{Image: encoded})
	require.Equal(t, codes.Canceled, status.Code(err))
}

func TestFit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ size, box, want image.Point }{
		"inside":      {image.Pt(10, 20), image.Pt(20, 20), image.Pt(10, 20)},
		"exact":       {image.Pt(20, 20), image.Pt(20, 20), image.Pt(20, 20)},
		"too wide":    {image.Pt(400, 100), image.Pt(100, 100), image.Pt(100, 25)},
		"too high":    {image.Pt(100, 400), image.Pt(100, 100), image.Pt(25, 100)},
		"both":        {image.Pt(300, 200), image.Pt(30, 10), image.Pt(15, 10)},
		"a thin line": {image.Pt(1, 5000), image.Pt(10, 10), image.Pt(1, 10)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, fit(test.size, test.box))
		})
	}
}
