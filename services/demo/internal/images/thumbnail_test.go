package images_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

const (
	formatJPEG = demov1.ImageFormat_IMAGE_FORMAT_JPEG
	formatPNG  = demov1.ImageFormat_IMAGE_FORMAT_PNG
)

func TestThumbnailIsTheRightPicture(t *testing.T) {
	t.Parallel()
	client := dial(t)
	landscape := quarters(800, 400)
	for name, test := range map[string]struct {
		request *demov1.ThumbnailRequest
		format  demov1.ImageFormat
		size    image.Point
	}{
		"default box":      {&demov1.ThumbnailRequest{Image: asJPEG(t, landscape)}, formatJPEG, image.Pt(128, 64)},
		"png":              {&demov1.ThumbnailRequest{Image: asPNG(t, landscape)}, formatPNG, image.Pt(128, 64)},
		"jpeg to png":      {&demov1.ThumbnailRequest{Image: asJPEG(t, landscape), Format: formatPNG}, formatPNG, image.Pt(128, 64)},
		"png to jpeg":      {&demov1.ThumbnailRequest{Image: asPNG(t, landscape), Format: formatJPEG}, formatJPEG, image.Pt(128, 64)},
		"height decides":   {&demov1.ThumbnailRequest{Image: asPNG(t, landscape), MaxWidth: 300, MaxHeight: 50}, formatPNG, image.Pt(100, 50)},
		"portrait":         {&demov1.ThumbnailRequest{Image: asPNG(t, quarters(300, 900)), MaxWidth: 90, MaxHeight: 90}, formatPNG, image.Pt(30, 90)},
		"never enlarged":   {&demov1.ThumbnailRequest{Image: asPNG(t, quarters(40, 30))}, formatPNG, image.Pt(40, 30)},
		"more than strips": {&demov1.ThumbnailRequest{Image: asJPEG(t, quarters(1400, 1000)), MaxWidth: 700, MaxHeight: 2000}, formatJPEG, image.Pt(700, 500)},
		"not at the origin": {&demov1.ThumbnailRequest{
			Image: asJPEG(t, quarters(901, 601).SubImage(image.Rect(1, 1, 901, 601))),
		}, formatJPEG, image.Pt(128, 85)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, err := client.Thumbnail(t.Context(), test.request)
			require.NoError(t, err)
			require.Equal(t, test.format, answer.GetFormat())
			require.Equal(t, test.size, image.Pt(int(answer.GetWidth()), int(answer.GetHeight())))
			small, format, err := image.Decode(bytes.NewReader(answer.GetImage()))
			require.NoError(t, err)
			require.Equal(t, map[demov1.ImageFormat]string{formatJPEG: "jpeg", formatPNG: "png"}[test.format], format)
			require.Equal(t, test.size, small.Bounds().Size())
			w, h := test.size.X, test.size.Y
			requireColour(t, red, small, image.Pt(w/4, h/4))
			requireColour(t, green, small, image.Pt(3*w/4, h/4))
			requireColour(t, blue, small, image.Pt(w/4, 3*h/4))
			requireColour(t, yellow, small, image.Pt(3*w/4, 3*h/4))
		})
	}
}

// A picture without extent in one direction must not vanish.
func TestThumbnailOfALineKeepsOnePixel(t *testing.T) {
	t.Parallel()
	answer, err := dial(t).Thumbnail(t.Context(), &demov1.ThumbnailRequest{
		Image: asPNG(t, plain(green, 1, 5000)), MaxHeight: 10, MaxWidth: 10,
	})
	require.NoError(t, err)
	small, _, err := image.Decode(bytes.NewReader(answer.GetImage()))
	require.NoError(t, err)
	require.Equal(t, image.Pt(1, 10), small.Bounds().Size())
	requireColour(t, green, small, image.Pt(0, 5))
}

func TestThumbnailPutsTransparencyOnWhiteInJPEG(t *testing.T) {
	t.Parallel()
	answer, err := dial(t).Thumbnail(t.Context(), &demov1.ThumbnailRequest{
		Image: asPNG(t, plain(color.Transparent, 300, 300)), Format: formatJPEG,
	})
	require.NoError(t, err)
	small, _, err := image.Decode(bytes.NewReader(answer.GetImage()))
	require.NoError(t, err)
	requireColour(t, white, small, image.Pt(64, 64))
}

func TestThumbnailRefuses(t *testing.T) {
	t.Parallel()
	client := dial(t)
	fine := asJPEG(t, quarters(200, 100))
	for name, test := range map[string]struct {
		request *demov1.ThumbnailRequest
		field   string
		words   string
	}{
		"no picture":       {&demov1.ThumbnailRequest{}, "image", "empty"},
		"text":             {&demov1.ThumbnailRequest{Image: []byte("hello")}, "image", "neither a JPEG nor a PNG"},
		"gif":              {&demov1.ThumbnailRequest{Image: asGIF(t, plain(red, 2, 2))}, "image", "neither a JPEG nor a PNG"},
		"half a header":    {&demov1.ThumbnailRequest{Image: fine[:20]}, "image", "header"},
		"half a picture":   {&demov1.ThumbnailRequest{Image: fine[:len(fine)/2]}, "image", "decoded"},
		"a bomb":           {&demov1.ThumbnailRequest{Image: claiming(t, 10_000, 10_000)}, "image", "50 megapixels"},
		"a very long line": {&demov1.ThumbnailRequest{Image: claiming(t, 70_000, 1)}, "image", "65535"},
		"negative width":   {&demov1.ThumbnailRequest{Image: fine, MaxWidth: -1}, "max_width", "between 1 and 4096"},
		"huge height":      {&demov1.ThumbnailRequest{Image: fine, MaxHeight: 4097}, "max_height", "between 1 and 4096"},
		"unknown format":   {&demov1.ThumbnailRequest{Image: fine, Format: 9}, "format", "ImageFormat"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.Thumbnail(t.Context(), test.request)
			requireInvalid(t, err, test.field, test.words)
		})
	}
}

func TestThumbnailGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := dial(t).Thumbnail(ctx, &demov1.ThumbnailRequest{Image: asPNG(t, plain(red, 10, 10))})
	require.Equal(t, codes.Canceled, status.Code(err))
}
