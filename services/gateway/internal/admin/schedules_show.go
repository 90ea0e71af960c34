package admin

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/schedules"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// schedulesAfter begins the page tokens of ListSchedules.
	schedulesAfter = "schedules after "
	// maxListed bounds the schedules that are read for a page at once, and
	// maxPageBytes the page, but for a single one: each has a payload, and gRPC's
	// clients take no more than 4 MiB unless told so.
	maxListed    = 50
	maxPageBytes = 2 << 20
)

// ListSchedules implements warren.admin.v1.AdminService.
func (s *Service) ListSchedules(ctx context.Context, r *adminv1.ListSchedulesRequest) (*adminv1.ListSchedulesResponse, error) {
	after, err := placeOf(schedulesAfter, r.PageToken)
	if err != nil {
		return nil, err
	}
	out := &adminv1.ListSchedulesResponse{}
	for size, bytes := pageSize(r.PageSize), 0; ; {
		found, err := s.cfg.Schedules.Store.ListSchedules(ctx, after, maxListed)
		if err != nil {
			return nil, storeError(err)
		}
		for i := range found {
			shown, err := listSchedule(&found[i])
			if err != nil {
				return nil, err
			}
			bytes += proto.Size(shown)
			if n := len(out.Schedules); n == size || n > 0 && bytes > maxPageBytes {
				out.NextPageToken = tokenOf(schedulesAfter, after)
				return out, nil
			}
			out.Schedules, after = append(out.Schedules, shown), found[i].ID
		}
		if len(found) < maxListed {
			return out, nil
		}
	}
}

func listSchedule(kept *store.Schedule) (*adminv1.Schedule, error) {
	spec, err := decodeSchedule(kept)
	if err != nil {
		return nil, err
	}
	return showSchedule(kept, spec, listedTimes, 1)
}

// showSchedule shows a schedule with so many of its next times and last firings. One
// whose times can't be computed any more has none.
func showSchedule(kept *store.Schedule, spec *adminv1.Schedule, times, firings int) (*adminv1.Schedule, error) {
	m := proto.CloneOf(spec)
	m.Etag = scheduleEtag(kept, spec)
	for _, at := range nextTimes(kept, spec, times) {
		m.NextTimes = append(m.NextTimes, timestamppb.New(at))
	}
	for f, err := range schedules.Firings(kept) {
		if err != nil {
			return nil, rpc.Internal(err)
		}
		if m.Firings = append(m.Firings, f); len(m.Firings) == firings {
			break
		}
	}
	return m, nil
}

func nextTimes(kept *store.Schedule, spec *adminv1.Schedule, n int) []time.Time {
	table, err := schedules.Compile(spec)
	if err != nil || kept.Next.IsZero() {
		return nil
	}
	return table.Upcoming(kept.Next, n)
}

// scheduleEtag differs from those of schedules that had the id before: their versions
// began with 1, too.
func scheduleEtag(kept *store.Schedule, spec *adminv1.Schedule) string {
	return strconv.FormatInt(spec.CreateTime.AsTime().UnixMicro(), 36) + "-" + strconv.FormatInt(kept.Version, 10)
}
