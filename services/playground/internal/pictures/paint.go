package pictures

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
)

const jpegQuality = 90

// Photograph is a JPEG with as much detail as a photograph has: waves of light
// and noise over four quarters, whose mean colours are those given. The same
// arguments paint the same picture.
func Photograph(size image.Point, quarters Quarters) ([]byte, error) {
	img := image.NewRGBA(image.Rectangle{Max: size})
	noise := rand.New(rand.NewPCG(uint64(size.X), uint64(size.Y)))
	for y := range size.Y {
		for x := range size.X {
			base := quarters[quarterAt(x, y, size)]
			img.SetRGBA(x, y, brighten(base, light(x, y, size)+noise.IntN(25)-12))
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: jpegQuality}); err != nil {
		return nil, fmt.Errorf("encode a photograph: %w", err)
	}
	return out.Bytes(), nil
}

// Tile is a square PNG of one colour, side pixels wide.
func Tile(side int, c color.RGBA) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.Draw(img, img.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, fmt.Errorf("encode a tile: %w", err)
	}
	return out.Bytes(), nil
}

func quarterAt(x, y int, size image.Point) int {
	quarter := 0
	if x >= size.X/2 {
		quarter++
	}
	if y >= size.Y/2 {
		quarter += 2
	}
	return quarter
}

// light is a wave whose mean over any large part of the picture is 0.
func light(x, y int, size image.Point) int {
	const waves, height = 32, 10
	across := math.Sin(2 * math.Pi * waves * float64(x) / float64(size.X))
	down := math.Sin(2 * math.Pi * waves * float64(y) / float64(size.Y))
	return int(math.Round(height * across * down))
}

func brighten(c color.RGBA, by int) color.RGBA {
	channel := func(value uint8) uint8 { return uint8(min(max(int(value)+by, 0), 255)) }
	return color.RGBA{R: channel(c.R), G: channel(c.G), B: channel(c.B), A: c.A}
}
