//go:build unix

package run

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

func TestOneRunHasTheFolder(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir, unlock, err := openDir(path)
	require.NoError(t, err)
	require.Equal(t, path, dir)
	_, _, err = openDir(path)
	require.ErrorContains(t, err, "--data-dir")
	unlock()
	_, unlock, err = openDir(path)
	require.NoError(t, err)
	unlock()
}

func TestAFolderHasItsOwnProject(t *testing.T) {
	t.Parallel()
	require.Equal(t, projectOf("/a"), projectOf("/a"))
	require.NotEqual(t, projectOf("/a"), projectOf("/b"))
}

func TestTheSampleIsAThumbnailsSubmission(t *testing.T) {
	t.Parallel()
	file, err := writeSample(t.TempDir())
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var submission taskv1.SubmitTaskRequest
	require.NoError(t, protojson.Unmarshal(text, &submission))
	require.Equal(t, "demo.v1.ImageService.Thumbnail", submission.GetType())
	var payload demov1.ThumbnailRequest
	require.NoError(t, submission.GetPayload().UnmarshalTo(&payload))
	require.NotEmpty(t, payload.GetImage())
}
