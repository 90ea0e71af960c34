package api

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// A token is opaque to callers: a tag of what it belongs to, and a place.
func token(tag uint64, place int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(binary.BigEndian.AppendUint64(nil, tag), uint64(place)))
}

func parseToken(tag uint64, text string) (place int64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) <= 8 || binary.BigEndian.Uint64(b) != tag {
		return 0, false
	}
	n, size := binary.Uvarint(b[8:])
	return int64(n), size == len(b)-8 && int64(n) >= 0
}

// pageTag binds the token of a page to the other arguments.
func pageTag(r *deadletterv1.ListDeadLettersRequest) uint64 {
	return tagOf("page", strconv.FormatBool(isFull(r.View)), r.Filter)
}

// parsePageToken gives the place after which to go on, 0 for the first page.
func parsePageToken(r *deadletterv1.ListDeadLettersRequest) (int64, error) {
	return placeOf(pageTag(r), r.PageToken)
}

// pageSize is how many a page has that was asked for with a size.
func pageSize(asked int32, most int) int {
	if asked == 0 {
		return defaultPage
	}
	return min(int(asked), most)
}

// tagOf binds tokens to the other arguments of a request.
func tagOf(parts ...string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strings.Join(parts, "\x00")))
	return h.Sum64()
}

// placeOf is the place in a page token, 0 for the first page.
func placeOf(tag uint64, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	place, ok := parseToken(tag, text)
	if !ok || place == 0 {
		return 0, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
			"the page token is not one of this request's; leave it out to begin with the first page").
			Field("page_token", "not a token of a request with these arguments")
	}
	return place, nil
}

// watchTag marks resume tokens, which are good for any filter and view.
const watchTag = 0x7761746368206431

func resumeToken(place int64) string { return token(watchTag, place) }

// parseResumeToken gives the change after which to go on. One that has not
// happened yet is of another store.
func parseResumeToken(text string, latest int64) (int64, error) {
	place, ok := parseToken(watchTag, text)
	if !ok || place > latest {
		return 0, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_INVALID,
			"the resume token is not one of this service's; leave it out to watch from now on").
			Field("resume_token", "not a token of this service")
	}
	return place, nil
}
