//go:build unix

package demo

import (
	"context"
	"fmt"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/services/playground/internal/pictures"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

const (
	sheetPictures = 12
	sheetColumns  = 4
	sheetCell     = 64
)

// contactSheet submits a call that streams its progress, and checks the sheet
// at the end of it.
func (s *session) contactSheet(ctx context.Context) error {
	colours := pictures.Palette(sheetPictures)
	request := &demov1.ContactSheetRequest{Columns: sheetColumns, CellSize: sheetCell}
	for _, colour := range colours {
		tile, err := pictures.Tile(3*sheetCell, colour)
		if err != nil {
			return err
		}
		request.Images = append(request.Images, tile)
	}
	task, err := s.submit(ctx, demov1.ImageService_ContactSheet_FullMethodName, request)
	if err != nil {
		return err
	}
	s.print.Line("submitted", "task %s", task.GetTaskId())
	if task, err = s.watch(ctx, task); err != nil {
		return err
	}
	var last demov1.ContactSheetResponse
	if err := result(task, &last); err != nil {
		return err
	}
	if err := pictures.CheckSheet(last.GetSheet(), sheetColumns, sheetCell, colours); err != nil {
		return fmt.Errorf("the sheet is wrong: %w", err)
	}
	s.print.Line("checked", "it is the right sheet: a PNG of %s, each of the %d cells in its colour",
		show.Size(len(last.GetSheet())), sheetPictures)
	return nil
}
