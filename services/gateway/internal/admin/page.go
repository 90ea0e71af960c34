package admin

import (
	"encoding/base64"
	"strings"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

const (
	defaultPage = 50
	maxPage     = 500
)

// pageSize is how many a page has, of what was asked for.
func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPage
	}
	return min(int(asked), maxPage)
}

// tokenOf has the last name of a page: opaque to callers. What stands before it
// binds it to the method and to the other arguments.
func tokenOf(kind, last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(kind + last))
}

// placeOf gives the name after which to go on, empty for the first page.
func placeOf(kind, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	last, ok := strings.CutPrefix(string(b), kind)
	if err != nil || !ok || last == "" {
		return "", rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
			"the page token is not one of this request's; leave it out to begin with the first page").
			Field("page_token", "not a token of this request")
	}
	return last, nil
}
