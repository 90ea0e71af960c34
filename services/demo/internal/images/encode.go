package images

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/draw"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

const jpegQuality = 85

// encode encodes the picture as a JPEG or a PNG. A JPEG has no transparency:
// what is behind the picture becomes white.
func encode(img image.Image, format demov1.ImageFormat) ([]byte, error) {
	var out bytes.Buffer
	var err error
	if format == demov1.ImageFormat_IMAGE_FORMAT_JPEG {
		err = jpeg.Encode(&out, opaque(img), &jpeg.Options{Quality: jpegQuality})
	} else {
		err = png.Encode(&out, img)
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode the picture: %v", err)
	}
	return out.Bytes(), nil
}

func opaque(img image.Image) image.Image {
	if known, ok := img.(interface{ Opaque() bool }); ok && known.Opaque() {
		return img
	}
	flat := image.NewRGBA(image.Rectangle{Max: img.Bounds().Size()})
	draw.Draw(flat, flat.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(flat, flat.Bounds(), img, img.Bounds().Min, draw.Over)
	return flat
}
