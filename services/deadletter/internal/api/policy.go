package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// GetDeadLetterPolicy implements warren.deadletter.v1.DeadLetterService.
func (s *Service) GetDeadLetterPolicy(ctx context.Context, r *deadletterv1.GetDeadLetterPolicyRequest) (*deadletterv1.GetDeadLetterPolicyResponse, error) {
	own, all, err := s.cfg.Store.Policy(ctx, r.TaskType)
	if err != nil {
		return nil, answer(err)
	}
	return &deadletterv1.GetDeadLetterPolicyResponse{
		Policy: policyToProto(&own), Effective: effectiveToProto(&own, &all), Sources: sources(&own, &all),
	}, nil
}

// sources says where what holds comes from.
func sources(own, all *store.Policy) map[string]string {
	from := map[string]string{}
	for f := range store.PolicyDefaults() {
		from[string(f)] = "default"
		if _, ok := all.Set[f]; ok {
			from[string(f)] = store.AllTypes
		}
		if _, ok := own.Set[f]; ok && own.TaskType != store.AllTypes {
			from[string(f)] = "the type"
		}
	}
	return from
}

// ListDeadLetterPolicies implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListDeadLetterPolicies(ctx context.Context, r *deadletterv1.ListDeadLetterPoliciesRequest) (*deadletterv1.ListDeadLetterPoliciesResponse, error) {
	after, err := parsePolicyToken(r.PageToken)
	if err != nil {
		return nil, err
	}
	size := pageSize(r.PageSize, maxPage)
	policies, err := s.cfg.Store.Policies(ctx, after, size+1)
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListDeadLetterPoliciesResponse{}
	for i := range policies[:min(len(policies), size)] {
		out.Policies = append(out.Policies, policyToProto(&policies[i]))
	}
	if len(policies) > size {
		out.NextPageToken = policyToken(policies[size-1].TaskType)
	}
	return out, nil
}

// policyMark begins the token of a page of policies, which has the last one's type.
const policyMark = "policies after "

func policyToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(policyMark + after))
}

func parsePolicyToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(text), policyMark)
	if err != nil || !ok {
		return "", rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
			"the page token is not one of ListDeadLetterPolicies; leave it out to begin with the first page").
			Field("page_token", "not a token of this call")
	}
	return after, nil
}

// UpdateDeadLetterPolicy implements warren.deadletter.v1.DeadLetterService.
func (s *Service) UpdateDeadLetterPolicy(ctx context.Context, r *deadletterv1.UpdateDeadLetterPolicyRequest) (*deadletterv1.UpdateDeadLetterPolicyResponse, error) {
	request, err := policyRequest(r)
	if err != nil {
		return nil, err
	}
	own, all, err := s.cfg.Store.Policy(ctx, request.TaskType)
	if err != nil {
		return nil, answer(err)
	}
	if err := checkAges(&request, &own, &all); err != nil {
		return nil, err
	}
	request.By = callOf(ctx, "UpdateDeadLetterPolicy", r.Reason)
	own, all, err = s.cfg.Store.UpdatePolicy(ctx, request)
	if err != nil {
		return nil, policyProblem(err)
	}
	s.policies.forget()
	s.cfg.Logger.InfoContext(ctx, "an operator has set a policy of dead letters", "policy", own.TaskType, "fields", r.UpdateMask.GetPaths(), "reason", r.Reason)
	return &deadletterv1.UpdateDeadLetterPolicyResponse{Policy: policyToProto(&own), Effective: effectiveToProto(&own, &all)}, nil
}

// checkAges says whether what will hold for the type makes sense. What holds for the
// other types, after a change of `*`, is not looked at: one that warns later than its
// breach just does not warn.
func checkAges(r *store.PolicyRequest, own, all *store.Policy) error {
	set := store.Settings{}
	for f, v := range own.Set {
		set[f] = v
	}
	for _, f := range r.Fields {
		delete(set, f)
		if v, ok := r.Set[f]; ok {
			set[f] = v
		}
	}
	below := all.Set
	if r.TaskType == store.AllTypes {
		below = nil
	}
	holds := store.Effective(set, below)
	warn, breach := holds.Age(store.PolicyWarnAge), holds.Age(store.PolicyBreachAge)
	if warn > 0 && breach > 0 && warn > breach {
		field := store.PolicyWarnAge
		if _, ok := r.Set[field]; !ok {
			field = store.PolicyBreachAge
		}
		return badPolicy("policy."+string(field), fmt.Sprintf("warn_age, %s, must not be above breach_age, %s", warn, breach))
	}
	return nil
}

func policyProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrEtag):
		return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
			"the policy has changed since it had this etag; look at it again")
	case errors.Is(err, store.ErrManyPolicies):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED,
			"there are %d policies, as many as there may be; set what is common to them in that of *", store.MaxPolicies).
			With("count", fmt.Sprint(store.MaxPolicies))
	}
	return answer(err)
}
