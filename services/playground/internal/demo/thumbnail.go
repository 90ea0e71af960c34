//go:build unix

package demo

import (
	"context"
	"errors"
	"fmt"
	"image"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/playground/internal/pictures"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

// thumbnail submits one photograph and checks what comes back.
func (s *session) thumbnail(ctx context.Context) error {
	quarters := pictures.QuartersOf(pictures.Palette(12), 0)
	photograph, err := pictures.Photograph(image.Pt(1600, 1200), quarters)
	if err != nil {
		return err
	}
	s.print.Line("painted", "a JPEG of 1600 x 1200 pixels, %s", show.Size(len(photograph)))
	task, err := s.submit(ctx, demov1.ImageService_Thumbnail_FullMethodName,
		&demov1.ThumbnailRequest{Image: photograph, MaxWidth: 240, MaxHeight: 240})
	if err != nil {
		return err
	}
	s.print.Line("submitted", "task %s", task.GetTaskId())
	if task, err = s.watch(ctx, task); err != nil {
		return err
	}
	small, err := checkThumbnail(task, image.Pt(240, 180), quarters)
	if err != nil {
		return err
	}
	s.print.Line("checked", "it is the right picture: a JPEG of 240 x 180 pixels, %s, every quarter in its colour",
		show.Size(len(small.GetImage())))
	return s.attempts(ctx, task)
}

func checkThumbnail(task *taskv1.Task, size image.Point, quarters pictures.Quarters) (*demov1.ThumbnailResponse, error) {
	var small demov1.ThumbnailResponse
	if err := result(task, &small); err != nil {
		return nil, err
	}
	if got := image.Pt(int(small.GetWidth()), int(small.GetHeight())); got != size {
		return nil, fmt.Errorf("the answer says that the thumbnail is %v, not %v", got, size)
	}
	if err := pictures.CheckPhotograph(small.GetImage(), "jpeg", size, quarters); err != nil {
		return nil, fmt.Errorf("the thumbnail of task %s is wrong: %w", task.GetTaskId(), err)
	}
	return &small, nil
}

// attempts shows the executions of a task that succeeded at once.
func (s *session) attempts(ctx context.Context, task *taskv1.Task) error {
	attempts, err := s.listAttempts(ctx, task)
	if err != nil {
		return err
	}
	s.print.Line("attempts", "%s", describeAttempts(attempts))
	if len(attempts) == 0 {
		return errors.New("no attempt is on record")
	}
	if last := attempts[len(attempts)-1]; last.GetOutcome() != taskv1.AttemptOutcome_ATTEMPT_OUTCOME_SUCCEEDED {
		return fmt.Errorf("the last attempt is on record as %s", last.GetOutcome())
	}
	return nil
}
