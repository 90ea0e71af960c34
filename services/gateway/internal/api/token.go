package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// resumeToken is the task's id and the number of the last event that was seen:
// opaque to callers, and good for this task alone.
func resumeToken(id string, number int64) string {
	u, err := uuid.Parse(id)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(u[:], uint64(number)))
}

func parseResumeToken(id, token string) (int64, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	u, idErr := uuid.Parse(id)
	if err != nil || idErr != nil || len(b) <= len(u) || !bytes.Equal(b[:len(u)], u[:]) {
		return 0, errResumeToken()
	}
	number, n := binary.Uvarint(b[len(u):])
	if n != len(b)-len(u) || int64(number) < 0 {
		return 0, errResumeToken()
	}
	return int64(number), nil
}

func errResumeToken() error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_INVALID,
		"the resume token is not one of this task's; leave it out to begin with a snapshot").
		Field("resume_token", "not a token of this task")
}

// attemptPage is the last record of a page.
type attemptPage struct {
	Task string
	Key  task.Key
}

func pageToken(id string, last task.Key) string {
	b, err := json.Marshal(attemptPage{id, last})
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parsePageToken gives the record after which to go on, nil for the first page.
func parsePageToken(id, token string) (*task.Key, error) {
	if token == "" {
		return nil, nil
	}
	var p attemptPage
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Task != id {
		return nil, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
			"the page token is not one of this request's; leave it out to begin with the first page").
			Field("page_token", "not a token of this request")
	}
	return &p.Key, nil
}
