package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// failureKinds are ways to fail with something that differs from task to task, by what is
// the same in all.
var failureKinds = map[string]func(i int) *demov1.FailRequest{
	"invoice <num> does not exist": func(i int) *demov1.FailRequest {
		return fail(codes.NotFound, fmt.Sprintf("invoice %d does not exist", 7*i))
	},
	"object <uuid> is gone": func(int) *demov1.FailRequest {
		return fail(codes.NotFound, fmt.Sprintf("object %s is gone", task.NewID()))
	},
	"closed at <time>": func(i int) *demov1.FailRequest {
		return fail(codes.FailedPrecondition, "closed at "+time.Unix(int64(i)*977_123, 0).UTC().Format(time.RFC3339))
	},
	"user <text> may not": func(i int) *demov1.FailRequest {
		return fail(codes.PermissionDenied, fmt.Sprintf("user 'u%d' may not", i))
	},
	"dial tcp <addr>: connection refused": func(i int) *demov1.FailRequest {
		return fail(codes.Unavailable, fmt.Sprintf("dial tcp 10.0.3.%d:5432: connection refused", i))
	},
	"order-<num> has checksum <hex>": func(i int) *demov1.FailRequest {
		return fail(codes.InvalidArgument, fmt.Sprintf("order-%d has checksum %#08x", 100*i, i*7919))
	},
}

// group waits for the group with a message to be as wanted.
func (p *platform) group(t *testing.T, message string, wanted func(*deadletterv1.FailureGroup) bool) *deadletterv1.FailureGroup {
	t.Helper()
	var found *deadletterv1.FailureGroup
	brokertest.Eventually(t, time.Minute, func() error {
		r, err := p.dead.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{Filter: fmt.Sprintf("message = %q", message)})
		if err != nil {
			return err
		}
		if len(r.Groups) != 1 || !wanted(r.Groups[0]) {
			return fmt.Errorf("%q has the groups %v", message, r.Groups)
		}
		found = r.Groups[0]
		return nil
	})
	return found
}

// Tasks that fail for the same reason fall into one group, whatever differs in their
// messages; one that is RESOLVED is REGRESSED by the next failure.
func TestFailureGroupsOfKindsOfFailure(t *testing.T) {
	t.Parallel()
	p, _, _ := failing(t)
	const each = 8
	submit := func(kind string, i int) string {
		return p.ask(t, typeFail, failureKinds[kind](i), func(r *taskv1.SubmitTaskRequest) {
			r.Retry, r.Labels = quickly(1), map[string]string{"kind": kind}
		}).TaskId
	}
	for i := range each {
		for kind := range failureKinds {
			submit(kind, i)
		}
	}
	p.awaitDead(t, "", each*len(failureKinds), time.Minute)
	all, err := p.dead.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{OrderBy: "count desc"})
	require.NoError(t, err)
	require.Len(t, all.Groups, len(failureKinds), "%v", all.Groups)
	for _, g := range all.Groups {
		require.Contains(t, failureKinds, g.Message)
		require.EqualValues(t, each, g.Count, g.Message)
		require.EqualValues(t, each, g.OpenCount, g.Message)
	}
	counts, err := p.dead.AggregateDeadLetters(t.Context(), &deadletterv1.AggregateDeadLettersRequest{GroupBy: []string{"group_id", "labels.kind"}})
	require.NoError(t, err)
	require.Len(t, counts.Aggregates, len(failureKinds), "each group has one kind")

	const kind = "object <uuid> is gone"
	g := p.group(t, kind, func(*deadletterv1.FailureGroup) bool { return true })
	resolved, err := p.dead.UpdateFailureGroup(t.Context(), &deadletterv1.UpdateFailureGroupRequest{
		GroupId: g.GroupId, Update: &deadletterv1.FailureGroupUpdate{State: deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_RESOLVED},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}}, Etag: g.Etag, Reason: "restored",
	})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_RESOLVED, resolved.Group.State)
	id := submit(kind, 0)
	p.group(t, kind, func(g *deadletterv1.FailureGroup) bool {
		return g.State == deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_REGRESSED && g.Count == each+1
	})
	d := p.deadLetter(t, id, open)
	require.Equal(t, g.GroupId, d.GroupId)
	explained, err := p.dead.ExplainFingerprint(t.Context(), &deadletterv1.ExplainFingerprintRequest{
		Failure: &deadletterv1.ExplainFingerprintRequest_DeadLetterId{DeadLetterId: id},
	})
	require.NoError(t, err)
	require.Equal(t, g.GroupId, explained.GroupId)
	require.Len(t, explained.Replacements, 1)
	shown, err := p.dead.GetFailureGroup(t.Context(), &deadletterv1.GetFailureGroupRequest{GroupId: g.GroupId})
	require.NoError(t, err)
	require.Equal(t, id, shown.Group.SampleDeadLetterIds[0])
	require.NotEmpty(t, shown.Group.Hours)
	require.NotEmpty(t, shown.Group.WorkerVersions)

	// Groups outlive the service.
	p.deadletter.kill()
	p.startDeadletter(t)
	p.group(t, kind, func(g *deadletterv1.FailureGroup) bool { return g.Count == each+1 && g.OpenCount == each+1 })
}
