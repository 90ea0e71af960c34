package api

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

func TestResumeTokenRoundTrip(t *testing.T) {
	t.Parallel()
	id := task.NewID()
	seen := map[string]bool{}
	for _, number := range []int64{0, 1, 127, 128, 1 << 40, math.MaxInt64} {
		token := resumeToken(id, number)
		require.False(t, seen[token])
		seen[token] = true
		require.LessOrEqual(t, len(token), 256, "as the request's rules say")
		got, err := parseResumeToken(id, token)
		require.NoError(t, err)
		require.Equal(t, number, got)
		got, err = parseResumeToken(strings.ToUpper(id), token)
		require.NoError(t, err, "a task has one id, however it is written")
		require.Equal(t, number, got)
	}
}

func requireReason(t testing.TB, err error, code codes.Code, reason taskv1.ErrorReason) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, status.Code(err))
	require.Equal(t, reason, reasonOf(t, err))
}

func TestResumeTokenOfNothing(t *testing.T) {
	t.Parallel()
	id := uuid.New()
	raw := func(tail ...byte) string { return base64.RawURLEncoding.EncodeToString(append(id[:], tail...)) }
	for name, token := range map[string]string{
		"another task's": resumeToken(task.NewID(), 1),
		"garbage":        "?",
		"empty":          "",
		"no number":      raw(),
		"half a number":  raw(0x80),
		"two numbers":    raw(1, 2),
		"negative":       raw(binary.AppendUvarint(nil, math.MaxInt64+1)...),
		"overflow":       raw(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"padded":         raw(1, 2, 3)[:22] + "==",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseResumeToken(id.String(), token)
			requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_INVALID)
		})
	}
	_, err := parseResumeToken("x", resumeToken(id.String(), 1))
	requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_INVALID)
	require.Empty(t, resumeToken("x", 1))
}

func FuzzResumeToken(f *testing.F) {
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	f.Add(id, resumeToken(id, 0))
	f.Add(id, resumeToken(id, math.MaxInt64))
	f.Add(id, resumeToken(id, 300)+"\n")
	f.Add("", "")
	f.Add(id, "AYkKXayWd0u8zrMCCZqAV_8")
	f.Fuzz(func(t *testing.T, id, token string) {
		number, err := parseResumeToken(id, token)
		if err != nil {
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			return
		}
		require.GreaterOrEqual(t, number, int64(0))
		again, err := parseResumeToken(id, resumeToken(id, number))
		require.NoError(t, err)
		require.Equal(t, number, again)
		_, err = parseResumeToken("00000000-0000-4000-8000-000000000000", token)
		if u := uuid.MustParse(id); u != uuid.MustParse("00000000-0000-4000-8000-000000000000") {
			require.Error(t, err, "good for one task alone")
		}
	})
}

func TestPageTokenRoundTrip(t *testing.T) {
	t.Parallel()
	id := task.NewID()
	key := task.Key{Run: 2, Attempt: 3, Delivery: 1 << 40, Phase: task.PhaseStarted, Sequence: 5, Copy: task.NewCopy()}
	token := pageToken(id, key)
	require.LessOrEqual(t, len(token), 512, "as the request's rules say")
	got, err := parsePageToken(id, token)
	require.NoError(t, err)
	require.Equal(t, &key, got)

	got, err = parsePageToken(id, "")
	require.NoError(t, err)
	require.Nil(t, got, "the first page")
	for name, bad := range map[string]string{
		"another task's": pageToken(task.NewID(), key),
		"garbage":        "?",
		"no JSON":        base64.RawURLEncoding.EncodeToString([]byte("x")),
		"other JSON":     base64.RawURLEncoding.EncodeToString([]byte("{}")),
		"a resume token": resumeToken(id, 1),
	} {
		_, err := parsePageToken(id, bad)
		require.Error(t, err, name)
		requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID)
	}
}

func TestLongestPageTokenFitsTheRequest(t *testing.T) {
	t.Parallel()
	key := task.Key{Run: math.MaxInt32, Attempt: math.MaxInt32, Delivery: math.MaxInt64, Phase: task.PhaseSucceeded, Sequence: math.MaxInt64}
	for i := range key.Copy {
		key.Copy[i] = 255
	}
	require.LessOrEqual(t, len(pageToken(task.NewID(), key)), 512)
}

func FuzzPageToken(f *testing.F) {
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	f.Add(id, pageToken(id, task.Key{Run: 1}))
	f.Add("", "e30")
	f.Fuzz(func(t *testing.T, id, token string) {
		if _, err := parsePageToken(id, token); err != nil {
			require.Equal(t, codes.InvalidArgument, status.Code(err))
		}
	})
}
