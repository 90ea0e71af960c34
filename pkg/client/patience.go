package client

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxOdd bounds the odd failures in a row that are taken for a lost connection.
const maxOdd = 5

// oddCodes are those that a broken stream can end with, besides UNAVAILABLE: by a
// reset, without trailers, or by the time limit of something in between.
var oddCodes = []codes.Code{codes.Internal, codes.Unknown, codes.Canceled, codes.DeadlineExceeded, codes.Aborted}

// patience says whether what reads failed for is worth another try. The zero value is
// ready.
type patience struct {
	odd int
	backoff
}

// reset is for when something came.
func (p *patience) reset() { *p = patience{} }

// allows says that of an error. What is UNAVAILABLE comes back some time; what else a
// gateway answers stays as it is, and has its ErrorInfo.
func (p *patience) allows(err error) bool {
	code := status.Code(err)
	if code == codes.Unavailable {
		return true
	}
	if infoOf(err) != nil || !slices.Contains(oddCodes, code) {
		return false
	}
	p.odd++
	return p.odd <= maxOdd
}

// ended is ctx's end if that is why something ended, else err.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}
