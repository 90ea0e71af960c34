package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
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
		return nil, errPageToken()
	}
	return &p.Key, nil
}

func errPageToken() error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
		"the page token is not one of this request's; leave it out to begin with the first page").
		Field("page_token", "not a token of this request")
}

// listTag binds the token of a page of tasks to the other arguments.
func listTag(r *taskv1.ListTasksRequest) []byte {
	h := fnv.New64a()
	_, _ = h.Write([]byte("list " + strconv.FormatBool(isFull(r.View)) + " " + r.Filter))
	return h.Sum(nil)
}

// listToken is the token of the page below a task.
func listToken(r *taskv1.ListTasksRequest, id string) string {
	u, err := uuid.Parse(id)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(listTag(r), u[:]...))
}

// parseListToken gives the id below which to go on, empty for the first page.
func parseListToken(r *taskv1.ListTasksRequest) (string, error) {
	if r.PageToken == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(r.PageToken)
	id, ok := bytes.CutPrefix(b, listTag(r))
	u, idErr := uuid.FromBytes(id)
	if err != nil || !ok || idErr != nil {
		return "", errPageToken()
	}
	return u.String(), nil
}

// feedTag marks resume tokens of watches of many tasks, which are good for any
// filter and view.
const feedTag = "feed"

func feedToken(p store.FeedPosition) string {
	b := append([]byte(feedTag), p.Store[:]...)
	b = binary.AppendUvarint(b, uint64(p.Row))
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(b, uint64(p.Index)))
}

func parseFeedToken(token string) (store.FeedPosition, error) {
	var p store.FeedPosition
	b, err := base64.RawURLEncoding.DecodeString(token)
	b, ok := bytes.CutPrefix(b, []byte(feedTag))
	if err != nil || !ok || len(b) < len(p.Store) {
		return p, errFeedToken()
	}
	b = b[copy(p.Store[:], b):]
	row, n := binary.Uvarint(b)
	if n <= 0 || row > math.MaxInt64 {
		return p, errFeedToken()
	}
	index, m := binary.Uvarint(b[n:])
	if m <= 0 || index > math.MaxInt32 || n+m != len(b) {
		return p, errFeedToken()
	}
	p.Row, p.Index = int64(row), int(index)
	return p, nil
}

func errFeedToken() error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_INVALID,
		"the resume token is not one of WatchTasks on this gateway's store; leave it out to watch from now on").
		Field("resume_token", "not a token of this store's watches")
}
