//go:build unix

package demo

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/services/playground/internal/pictures"
)

const (
	batchSize = 20
	// batchStep is how many more are done when that is said again.
	batchStep = 5
)

// batch submits many photographs at once, each in colours of its own, and
// checks that every task has its own thumbnail.
func (s *session) batch(ctx context.Context) error {
	palette := pictures.Palette(batchSize)
	started := time.Now()
	var done atomic.Int32
	group, ctx := errgroup.WithContext(ctx)
	for i := range batchSize {
		group.Go(func() error {
			if err := s.oneOfBatch(ctx, palette, i); err != nil {
				return err
			}
			if n := done.Add(1); n%batchStep == 0 {
				s.print.Line("done", "%d of %d", n, batchSize)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	elapsed := time.Since(started)
	s.print.Line("checked", "%d thumbnails, each the right one, in %v (%.0f a second)",
		batchSize, elapsed.Round(time.Millisecond), batchSize/elapsed.Seconds())
	return nil
}

func (s *session) oneOfBatch(ctx context.Context, palette []color.RGBA, i int) error {
	quarters := pictures.QuartersOf(palette, i)
	photograph, err := pictures.Photograph(image.Pt(480, 360), quarters)
	if err != nil {
		return err
	}
	task, err := s.submit(ctx, demov1.ImageService_Thumbnail_FullMethodName, &demov1.ThumbnailRequest{Image: photograph})
	if err != nil {
		return err
	}
	if task, err = s.wait(ctx, task.GetTaskId()); err != nil {
		return err
	}
	if _, err := checkThumbnail(task, image.Pt(128, 96), quarters); err != nil {
		return fmt.Errorf("photograph %d of %d: %w", i+1, batchSize, err)
	}
	return nil
}
