package images

import (
	"context"
	"fmt"
	"image"

	"golang.org/x/image/draw"
	"google.golang.org/grpc"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

const (
	maxPictures    = 100
	defaultColumns = 4
	maxColumns     = 10
	defaultCell    = 96
	maxCell        = 512
)

// ContactSheet implements demo.v1.ImageService. Every header is checked before
// the first message is sent; a picture that turns out to be broken later ends
// the stream with INVALID_ARGUMENT.
func (*Service) ContactSheet(
	req *demov1.ContactSheetRequest, stream grpc.ServerStreamingServer[demov1.ContactSheetResponse],
) error {
	grid, err := gridFor(req)
	if err != nil {
		return err
	}
	for i, data := range req.GetImages() {
		if _, err := inspect(imageField(i), data); err != nil {
			return err
		}
	}
	sheet := image.NewRGBA(grid.bounds())
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	for i, data := range req.GetImages() {
		if err := place(stream.Context(), sheet, grid.cell(i), imageField(i), data); err != nil {
			return err
		}
		step := &demov1.ContactSheetResponse{Placed: int32(i + 1), Total: int32(grid.pictures)}
		if i+1 == grid.pictures {
			if step.Sheet, err = encode(sheet, demov1.ImageFormat_IMAGE_FORMAT_PNG); err != nil {
				return err
			}
		}
		if err := stream.Send(step); err != nil {
			return err
		}
	}
	return nil
}

// place draws the picture into the middle of its cell.
func place(ctx context.Context, sheet draw.Image, cell image.Rectangle, field string, data []byte) error {
	picture, err := decode(ctx, field, data)
	if err != nil {
		return err
	}
	size := fit(picture.Bounds().Size(), cell.Size())
	small, err := scale(ctx, picture, size)
	if err != nil {
		return err
	}
	corner := cell.Min.Add(cell.Size().Sub(size).Div(2))
	draw.Draw(sheet, image.Rectangle{Min: corner, Max: corner.Add(size)}, small, small.Bounds().Min, draw.Over)
	return nil
}

func imageField(i int) string {
	return fmt.Sprintf("images[%d]", i)
}

// grid is how a sheet is divided: cells in rows, filled from the left.
type grid struct {
	pictures, columns, side int
}

func gridFor(req *demov1.ContactSheetRequest) (grid, error) {
	pictures := len(req.GetImages())
	if pictures < 1 || pictures > maxPictures {
		return grid{}, invalid("images", "has %d pictures, not between 1 and %d", pictures, maxPictures)
	}
	columns, err := within("columns", req.GetColumns(), defaultColumns, maxColumns)
	if err != nil {
		return grid{}, err
	}
	side, err := within("cell_size", req.GetCellSize(), defaultCell, maxCell)
	if err != nil {
		return grid{}, err
	}
	return grid{pictures: pictures, columns: min(columns, pictures), side: side}, nil
}

func (g grid) bounds() image.Rectangle {
	rows := (g.pictures + g.columns - 1) / g.columns
	return image.Rect(0, 0, g.columns*g.side, rows*g.side)
}

func (g grid) cell(i int) image.Rectangle {
	corner := image.Pt(i%g.columns*g.side, i/g.columns*g.side)
	return image.Rectangle{Min: corner, Max: corner.Add(image.Pt(g.side, g.side))}
}
