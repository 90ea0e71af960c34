package images

import (
	"context"
	"image"
	"math"

	"golang.org/x/image/draw"
)

// stripPixels bounds the part of a picture that is scaled in one go. The
// scaler holds 32 bytes for each, so 8 MiB.
const stripPixels = 1 << 18

// fit is the size, not above size, that keeps its aspect ratio within the box.
func fit(size, box image.Point) image.Point {
	if size.X <= box.X && size.Y <= box.Y {
		return size
	}
	ratio := min(float64(box.X)/float64(size.X), float64(box.Y)/float64(size.Y))
	side := func(length, most int) int {
		return min(max(int(math.Round(float64(length)*ratio)), 1), most)
	}
	return image.Pt(side(size.X, box.X), side(size.Y, box.Y))
}

// scale is src at the given size, by Catmull-Rom.
//
// The filter is separable, so the rows are scaled first and then the columns,
// each in strips: in one go the scaler would hold its intermediate picture
// whole, 32 bytes a pixel and a gigabyte at our limits, and could not stop
// when the context ends.
func scale(ctx context.Context, src image.Image, size image.Point) (image.Image, error) {
	from := src.Bounds()
	if from.Size() == size {
		return src, nil
	}
	wide := image.NewRGBA(image.Rect(0, 0, size.X, from.Dy()))
	rows := max(stripPixels/size.X, 1)
	for y := 0; y < from.Dy(); y += rows {
		if ctx.Err() != nil {
			return nil, ended(ctx)
		}
		strip := image.Rect(0, y, size.X, min(y+rows, from.Dy()))
		draw.CatmullRom.Scale(wide, strip, src,
			image.Rect(from.Min.X, from.Min.Y+strip.Min.Y, from.Max.X, from.Min.Y+strip.Max.Y), draw.Src, nil)
	}
	scaled := image.NewRGBA(image.Rectangle{Max: size})
	columns := max(stripPixels/from.Dy(), 1)
	for x := 0; x < size.X; x += columns {
		if ctx.Err() != nil {
			return nil, ended(ctx)
		}
		strip := image.Rect(x, 0, min(x+columns, size.X), size.Y)
		draw.CatmullRom.Scale(scaled, strip, wide,
			image.Rect(strip.Min.X, 0, strip.Max.X, from.Dy()), draw.Src, nil)
	}
	return scaled, nil
}
