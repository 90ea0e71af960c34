package pictures

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // image.Decode reads what is registered here,
	_ "image/png"  // and these are what the demo service answers with.
)

// tolerance is how far a channel's mean may be off, of 255: what scaling and
// JPEG do to a colour, and less than the distance of two colours of a Palette.
const tolerance = 14

// CheckPhotograph says what is wrong with a picture that should be a smaller
// Photograph: its format ("jpeg" or "png"), its size, each quarter's colour.
func CheckPhotograph(encoded []byte, format string, size image.Point, quarters Quarters) error {
	img, err := decode(encoded, format, size)
	if err != nil {
		return err
	}
	var wrong []error
	for i, name := range [...]string{"top left", "top right", "bottom left", "bottom right"} {
		corner := image.Pt(i%2*size.X/2, i/2*size.Y/2)
		quarter := image.Rectangle{Min: corner, Max: corner.Add(size.Div(2))}
		if err := checkColour(img, quarter, quarters[i]); err != nil {
			wrong = append(wrong, fmt.Errorf("the quarter at the %s %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

// CheckSheet says what is wrong with a picture that should be a PNG of square
// cells, side pixels wide, in rows of columns: each one's colour, and white
// where the last row has none.
func CheckSheet(encoded []byte, columns, side int, cells []color.RGBA) error {
	rows := (len(cells) + columns - 1) / columns
	img, err := decode(encoded, "png", image.Pt(columns*side, rows*side))
	if err != nil {
		return err
	}
	var wrong []error
	for i := range rows * columns {
		want := color.RGBA{R: 255, G: 255, B: 255, A: 255}
		if i < len(cells) {
			want = cells[i]
		}
		corner := image.Pt(i%columns*side, i/columns*side)
		if err := checkColour(img, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(side, side))}, want); err != nil {
			wrong = append(wrong, fmt.Errorf("cell %d %w", i+1, err))
		}
	}
	return errors.Join(wrong...)
}

func decode(encoded []byte, format string, size image.Point) (image.Image, error) {
	img, got, err := image.Decode(bytes.NewReader(encoded))
	if err != nil {
		return nil, fmt.Errorf("decode the picture of %d bytes: %w", len(encoded), err)
	}
	if got != format {
		return nil, fmt.Errorf("the picture is a %s, not a %s", got, format)
	}
	if img.Bounds().Size() != size {
		return nil, fmt.Errorf("the picture is %v, not %v", img.Bounds().Size(), size)
	}
	return img, nil
}

// checkColour compares the mean colour of the area's middle half: its edges may
// have mixed with what is beside them.
func checkColour(img image.Image, area image.Rectangle, want color.RGBA) error {
	middle := area.Inset(min(area.Dx(), area.Dy()) / 4)
	got := mean(img, middle)
	for _, channel := range [...][2]uint8{{got.R, want.R}, {got.G, want.G}, {got.B, want.B}, {got.A, want.A}} {
		if off := int(channel[0]) - int(channel[1]); off > tolerance || off < -tolerance {
			return fmt.Errorf("is %s, not %s", name(got), name(want))
		}
	}
	return nil
}

func mean(img image.Image, area image.Rectangle) color.RGBA {
	var r, g, b, a, n uint64
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			pr, pg, pb, pa := img.At(x, y).RGBA()
			r, g, b, a, n = r+uint64(pr), g+uint64(pg), b+uint64(pb), a+uint64(pa), n+1
		}
	}
	if n == 0 {
		return color.RGBA{}
	}
	channel := func(sum uint64) uint8 { return uint8(sum / n >> 8) }
	return color.RGBA{R: channel(r), G: channel(g), B: channel(b), A: channel(a)}
}

func name(c color.RGBA) string {
	return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)
}
