//go:build unix

package run

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
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

func TestTheThingsToTryAreAShellScript(t *testing.T) {
	t.Parallel()
	text := thingsToTry("127.0.0.1:7070", "/it's here/thumbnail.json")
	require.NotRegexp(t, `\b(ADDRESS|PICTURE|FIRST_ID|ALIAS)\b`, text)
	var script []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "  (") {
			script = append(script, line)
		}
	}
	check := exec.Command("/bin/sh", "-n")
	check.Stdin = strings.NewReader(strings.Join(script, ""))
	out, err := check.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// What is submitted on the command line must be what the API takes.
func TestTheSubmissionsToTryAreValid(t *testing.T) {
	t.Parallel()
	submissions := regexp.MustCompile(`-d '(\{"type".*\})'`).FindAllStringSubmatch(script, -1)
	require.Len(t, submissions, 2)
	for _, submission := range submissions {
		require.True(t, json.Valid([]byte(submission[1])), submission[1])
		require.NoError(t, protojson.Unmarshal([]byte(submission[1]), &taskv1.SubmitTaskRequest{}), submission[1])
	}
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
