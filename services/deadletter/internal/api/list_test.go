package api_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
)

// list reads all pages of a request.
func (w *world) list(t *testing.T, r *deadletterv1.ListDeadLettersRequest) (ids []string, pages int) {
	t.Helper()
	for {
		page, err := w.ListDeadLetters(t.Context(), r)
		require.NoError(t, err)
		pages++
		for _, d := range page.DeadLetters {
			ids = append(ids, d.DeadLetterId)
		}
		if page.NextPageToken == "" {
			return ids, pages
		}
		r.PageToken = page.NextPageToken
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for n := range 120 {
		ids = append(ids, w.put(t, arrival(n))...)
	}
	slices.Reverse(ids)
	got, pages := w.list(t, &deadletterv1.ListDeadLettersRequest{})
	require.Equal(t, ids, got)
	require.Equal(t, 3, pages, "50 by default")
	got, pages = w.list(t, &deadletterv1.ListDeadLettersRequest{PageSize: 100_000})
	require.Equal(t, ids, got)
	require.Equal(t, 1, pages)
	got, _ = w.list(t, &deadletterv1.ListDeadLettersRequest{Filter: `labels.n = "7" OR labels.n = "9"`, PageSize: 1})
	require.Equal(t, []string{ids[110], ids[112]}, got)
	got, pages = w.list(t, &deadletterv1.ListDeadLettersRequest{Filter: `state = "RESOLVED"`})
	require.Empty(t, got)
	require.Equal(t, 1, pages)
}

func TestListPageTokensAreBoundToTheirRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(t, arrival(1), arrival(2))
	page, err := w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{PageSize: 1})
	require.NoError(t, err)
	for _, r := range []*deadletterv1.ListDeadLettersRequest{
		{PageToken: page.NextPageToken, Filter: `state = "OPEN"`}, {PageToken: page.NextPageToken, View: full},
		{PageToken: "x"}, {PageToken: page.NextPageToken + "AAAA"}, {PageToken: page.NextPageToken[:4]},
	} {
		_, err := w.ListDeadLetters(t.Context(), r)
		requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	}
	_, err = w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{PageToken: page.NextPageToken, PageSize: 7})
	require.NoError(t, err)
	_, err = w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{Filter: `colour = "red"`})
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	_, err = w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{PageSize: -1})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestFullPagesFitIntoWhatClientsReceive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for n := range 20 {
		a := arrival(n)
		// Shown twice, as body and payload.
		a.Message.Body = bytes.Repeat([]byte{byte(n)}, 900<<10)
		ids = append(ids, w.put(t, a)...)
	}
	slices.Reverse(ids)
	got, pages := w.list(t, &deadletterv1.ListDeadLettersRequest{View: full, PageSize: 500})
	require.Equal(t, ids, got)
	require.Equal(t, 10, pages)

	large := arrival(99)
	large.Message.Body = make([]byte, 3<<20)
	id := w.put(t, large)[0]
	page, err := w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{View: full})
	require.NoError(t, err)
	require.Equal(t, id, page.DeadLetters[0].DeadLetterId)
	require.Nil(t, page.DeadLetters[0].Payload, "a large payload is shown once")
	require.Len(t, page.DeadLetters[0].Message.Body, 3<<20)
	require.Less(t, proto.Size(page), 4<<20)
}
