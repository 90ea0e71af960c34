package pictures

import (
	"image/color"
	"math"
)

// Quarters are the colours of a photograph's four quarters, from the top left,
// row by row.
type Quarters [4]color.RGBA

// Palette is n colours around the colour wheel, each far from its neighbours
// for n up to 24, none so dark or bright that Photograph's texture would clip.
func Palette(n int) []color.RGBA {
	colours := make([]color.RGBA, n)
	for i := range colours {
		colours[i] = hue(float64(i) / float64(n))
	}
	return colours
}

// QuartersOf picks four far-apart colours of the palette, others for each i
// from 0 to len(palette) - 1.
func QuartersOf(palette []color.RGBA, i int) Quarters {
	var quarters Quarters
	for q := range quarters {
		quarters[q] = palette[(i+q*len(palette)/len(quarters))%len(palette)]
	}
	return quarters
}

// hue is the colour at a turn of the wheel between 0 and 1.
func hue(turn float64) color.RGBA {
	const darkest, brightest = 60, 200
	channel := func(offset float64) uint8 {
		distance := math.Abs(math.Mod(turn+offset, 1)*6 - 3)
		strength := min(max(distance-1, 0), 1)
		return uint8(math.Round(darkest + strength*(brightest-darkest)))
	}
	return color.RGBA{R: channel(0), G: channel(2.0 / 3), B: channel(1.0 / 3), A: 255}
}
