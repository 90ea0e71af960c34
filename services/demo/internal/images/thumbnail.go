package images

import (
	"context"
	"image"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

const (
	defaultBox = 128
	maxBox     = 4096
)

// Thumbnail implements demo.v1.ImageService. A bad picture, box or format is
// INVALID_ARGUMENT with a BadRequest.
func (*Service) Thumbnail(ctx context.Context, req *demov1.ThumbnailRequest) (*demov1.ThumbnailResponse, error) {
	width, err := within("max_width", req.GetMaxWidth(), defaultBox, maxBox)
	if err != nil {
		return nil, err
	}
	height, err := within("max_height", req.GetMaxHeight(), defaultBox, maxBox)
	if err != nil {
		return nil, err
	}
	format, err := inspect("image", req.GetImage())
	if err != nil {
		return nil, err
	}
	if format, err = outputFormat(req.GetFormat(), format); err != nil {
		return nil, err
	}
	return thumbnail(ctx, req.GetImage(), image.Pt(width, height), format)
}

func thumbnail(
	ctx context.Context, data []byte, box image.Point, format demov1.ImageFormat,
) (*demov1.ThumbnailResponse, error) {
	picture, err := decode(ctx, "image", data)
	if err != nil {
		return nil, err
	}
	size := fit(picture.Bounds().Size(), box)
	small, err := scale(ctx, picture, size)
	if err != nil {
		return nil, err
	}
	encoded, err := encode(small, format)
	if err != nil {
		return nil, err
	}
	return &demov1.ThumbnailResponse{
		Image:  encoded,
		Format: format,
		Width:  int32(size.X),
		Height: int32(size.Y),
	}, nil
}

// outputFormat is the format asked for, or else the picture's own.
func outputFormat(asked, own demov1.ImageFormat) (demov1.ImageFormat, error) {
	switch asked {
	case demov1.ImageFormat_IMAGE_FORMAT_UNSPECIFIED:
		return own, nil
	case demov1.ImageFormat_IMAGE_FORMAT_JPEG, demov1.ImageFormat_IMAGE_FORMAT_PNG:
		return asked, nil
	default:
		return 0, invalid("format", "%d is not a known ImageFormat", asked)
	}
}
