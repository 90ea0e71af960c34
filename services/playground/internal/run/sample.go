//go:build unix

package run

import (
	"fmt"
	"image"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/playground/internal/pictures"
	"github.com/warrenmq/warren/services/playground/internal/platform"
)

// writeSample writes a submission that is too long for a command line, a
// photograph's, into the folder. Its answer is the file.
func writeSample(dir string) (string, error) {
	photograph, err := pictures.Photograph(image.Pt(800, 600), pictures.QuartersOf(pictures.Palette(12), 0))
	if err != nil {
		return "", err
	}
	payload, err := anypb.New(&demov1.ThumbnailRequest{Image: photograph})
	if err != nil {
		return "", fmt.Errorf("encode a photograph's submission: %w", err)
	}
	text, err := protojson.Marshal(&taskv1.SubmitTaskRequest{
		Type: platform.TaskType(demov1.ImageService_Thumbnail_FullMethodName), Payload: payload,
	})
	if err != nil {
		return "", fmt.Errorf("encode a photograph's submission: %w", err)
	}
	file := filepath.Join(dir, "thumbnail.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return "", fmt.Errorf("write a photograph's submission: %w", err)
	}
	return file, nil
}
