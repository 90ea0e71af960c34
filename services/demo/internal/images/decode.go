package images

import (
	"bytes"
	"context"
	"errors"
	"image"
	_ "image/jpeg" // image.Decode reads what is registered here,
	_ "image/png"  // and these two are what the service takes.
	"strings"

	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

// The limits of a picture, which hold before any of its pixels is decoded: a
// PNG of a few kilobytes can ask for gigabytes of memory.
const (
	maxPixels = 50_000_000
	maxSide   = 65_535
)

// inspect reads the picture's header and checks its format and size.
func inspect(field string, data []byte) (demov1.ImageFormat, error) {
	if len(data) == 0 {
		return 0, invalid(field, "is empty; send a JPEG or a PNG")
	}
	config, name, err := image.DecodeConfig(bytes.NewReader(data))
	if errors.Is(err, image.ErrFormat) {
		return 0, invalid(field, "is neither a JPEG nor a PNG")
	}
	if err != nil {
		return 0, invalid(field, "has a header that can't be read: %v", err)
	}
	format, ok := formatNamed(name)
	if !ok {
		return 0, invalid(field, "is a %s, neither a JPEG nor a PNG", strings.ToUpper(name))
	}
	w, h := config.Width, config.Height
	switch {
	case w < 1 || h < 1:
		return 0, invalid(field, "has no pixels, %d x %d", w, h)
	case w > maxSide || h > maxSide:
		return 0, invalid(field, "is %d x %d pixels; a side may have %d", w, h, maxSide)
	case int64(w)*int64(h) > maxPixels:
		return 0, invalid(field, "is %d x %d pixels; it may have %d megapixels", w, h, maxPixels/1_000_000)
	}
	return format, nil
}

// decode decodes a picture that inspect has accepted. It gives up when the
// context ends.
func decode(ctx context.Context, field string, data []byte) (image.Image, error) {
	source := bytes.NewReader(data)
	img, _, err := image.Decode(readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return source.Read(p)
	}))
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	if err != nil {
		return nil, invalid(field, "can't be decoded: %v", err)
	}
	return img, nil
}

func formatNamed(name string) (demov1.ImageFormat, bool) {
	switch name {
	case "jpeg":
		return demov1.ImageFormat_IMAGE_FORMAT_JPEG, true
	case "png":
		return demov1.ImageFormat_IMAGE_FORMAT_PNG, true
	default:
		return demov1.ImageFormat_IMAGE_FORMAT_UNSPECIFIED, false
	}
}

// ended is the status of a call whose context has ended.
func ended(ctx context.Context) error {
	return status.FromContextError(ctx.Err()).Err()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
