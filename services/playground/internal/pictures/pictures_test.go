package pictures_test

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/playground/internal/pictures"
)

func TestAPhotographIsFoundRight(t *testing.T) {
	t.Parallel()
	palette := pictures.Palette(20)
	for i := range palette {
		quarters := pictures.QuartersOf(palette, i)
		photograph, err := pictures.Photograph(image.Pt(400, 300), quarters)
		require.NoError(t, err)
		require.NoError(t, pictures.CheckPhotograph(photograph, "jpeg", image.Pt(400, 300), quarters))
	}
}

func TestAPhotographHasDetail(t *testing.T) {
	t.Parallel()
	photograph, err := pictures.Photograph(image.Pt(1600, 1200), pictures.QuartersOf(pictures.Palette(12), 0))
	require.NoError(t, err)
	require.Greater(t, len(photograph), 200_000, "flat colours would be a few kilobytes")
	require.Less(t, len(photograph), 2_000_000)
}

func TestAWrongPhotographIsFoundOut(t *testing.T) {
	t.Parallel()
	palette := pictures.Palette(20)
	quarters := pictures.QuartersOf(palette, 3)
	size := image.Pt(400, 300)
	right, err := pictures.Photograph(size, quarters)
	require.NoError(t, err)
	neighbour, err := pictures.Photograph(size, pictures.QuartersOf(palette, 4))
	require.NoError(t, err)
	swapped, err := pictures.Photograph(size, pictures.Quarters{quarters[1], quarters[0], quarters[2], quarters[3]})
	require.NoError(t, err)
	other, err := pictures.Photograph(image.Pt(401, 300), quarters)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		picture []byte
		words   string
	}{
		"nothing":               {nil, "decode"},
		"no picture":            {[]byte("not a picture"), "decode"},
		"half of it":            {right[:len(right)/2], "decode"},
		"another format":        {reencode(t, right), "a png, not a jpeg"},
		"another size":          {other, "(401,300), not (400,300)"},
		"the next one's":        {neighbour, "top left"},
		"swapped quarters":      {swapped, "top right"},
		"upside down":           {transformed(t, right, func(p image.Point) image.Point { return image.Pt(p.X, size.Y-1-p.Y) }), "bottom left"},
		"mirrored":              {transformed(t, right, func(p image.Point) image.Point { return image.Pt(size.X-1-p.X, p.Y) }), "top left"},
		"grey":                  {grey(t, size), "bottom right"},
		"one quarter overdrawn": {overdrawn(t, right, image.Rect(200, 150, 400, 300)), "bottom right"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, pictures.CheckPhotograph(test.picture, "jpeg", size, quarters), test.words)
		})
	}
}

func TestASheet(t *testing.T) {
	t.Parallel()
	cells := pictures.Palette(11)
	right := sheet(cells, 4, 32)
	require.NoError(t, pictures.CheckSheet(asPNG(t, right), 4, 32, cells))

	swapped := append([]color.RGBA(nil), cells...)
	swapped[5], swapped[6] = swapped[6], swapped[5]
	more := append(append([]color.RGBA(nil), cells...), cells[0])
	for name, test := range map[string]struct {
		picture []byte
		words   string
	}{
		"two cells swapped": {asPNG(t, sheet(swapped, 4, 32)), "cell 6"},
		"one cell missing":  {asPNG(t, sheet(cells[:10], 4, 32)), "cell 11"},
		"one too many":      {asPNG(t, sheet(more, 4, 32)), "cell 12"},
		"other columns":     {asPNG(t, sheet(cells, 3, 32)), "not (128,96)"},
		"a jpeg":            {asJPEG(t, right), "a jpeg, not a png"},
		"cut off":           {asPNG(t, right)[:100], "decode"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, pictures.CheckSheet(test.picture, 4, 32, cells), test.words)
		})
	}
}

func TestATileHasItsColour(t *testing.T) {
	t.Parallel()
	c := pictures.Palette(3)[1]
	tile, err := pictures.Tile(16, c)
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(tile))
	require.NoError(t, err)
	require.Equal(t, image.Pt(16, 16), img.Bounds().Size())
	require.Equal(t, c, color.RGBAModel.Convert(img.At(8, 8)))
}

func TestThePaletteHasNoTwoAlike(t *testing.T) {
	t.Parallel()
	seen := map[color.RGBA]bool{}
	for _, c := range pictures.Palette(24) {
		require.False(t, seen[c], "%v", c)
		seen[c] = true
	}
}

func sheet(cells []color.RGBA, columns, side int) image.Image {
	rows := (len(cells) + columns - 1) / columns
	img := image.NewRGBA(image.Rect(0, 0, columns*side, rows*side))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	for i, c := range cells {
		corner := image.Pt(i%columns*side, i/columns*side)
		draw.Draw(img, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(side, side))},
			image.NewUniform(c), image.Point{}, draw.Src)
	}
	return img
}

func grey(t *testing.T, size image.Point) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rectangle{Max: size})
	draw.Draw(img, img.Bounds(), image.NewUniform(color.Gray{Y: 128}), image.Point{}, draw.Src)
	return asJPEG(t, img)
}

func transformed(t *testing.T, encoded []byte, from func(image.Point) image.Point) []byte {
	t.Helper()
	src, err := jpeg.Decode(bytes.NewReader(encoded))
	require.NoError(t, err)
	img := image.NewRGBA(src.Bounds())
	for y := range src.Bounds().Dy() {
		for x := range src.Bounds().Dx() {
			p := from(image.Pt(x, y))
			img.Set(x, y, src.At(p.X, p.Y))
		}
	}
	return asJPEG(t, img)
}

func overdrawn(t *testing.T, encoded []byte, area image.Rectangle) []byte {
	t.Helper()
	src, err := jpeg.Decode(bytes.NewReader(encoded))
	require.NoError(t, err)
	img := image.NewRGBA(src.Bounds())
	draw.Draw(img, img.Bounds(), src, image.Point{}, draw.Src)
	draw.Draw(img, area, image.Black, image.Point{}, draw.Src)
	return asJPEG(t, img)
}

func reencode(t *testing.T, encoded []byte) []byte {
	t.Helper()
	src, err := jpeg.Decode(bytes.NewReader(encoded))
	require.NoError(t, err)
	return asPNG(t, src)
}

func asJPEG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, jpeg.Encode(&out, img, &jpeg.Options{Quality: 90}))
	return out.Bytes()
}

func asPNG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, png.Encode(&out, img))
	return out.Bytes()
}
