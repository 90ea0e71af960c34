package admin

import (
	"context"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

// GetTaskType implements warren.admin.v1.AdminService. It reads the store, so
// that the etag is that of the override in force, whoever stored it.
func (s *Service) GetTaskType(ctx context.Context, r *adminv1.GetTaskTypeRequest) (*adminv1.GetTaskTypeResponse, error) {
	t, err := s.fresh(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	schema, err := schemaOf(&t.TaskType)
	if err != nil {
		return nil, rpc.Internal(err)
	}
	return &adminv1.GetTaskTypeResponse{TaskType: typeToProto(&t), Schema: schema}, nil
}

// fresh gives a task type with the override that the store has now.
func (s *Service) fresh(ctx context.Context, name string) (tasktypes.Type, error) {
	if err := s.cfg.Types.Refresh(ctx); err != nil {
		return tasktypes.Type{}, storeError(err)
	}
	return s.known(name, "name")
}

// known gives a task type with what this gateway goes by, also while its store does
// not answer. Field is the request's that has the name.
func (s *Service) known(name, field string) (tasktypes.Type, error) {
	t, ok := s.cfg.Types.Type(name)
	switch {
	case ok:
		return t, nil
	case !s.cfg.CatalogueLoaded():
		return t, rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"this gateway has not loaded its task types from its store yet; call again")
	}
	return t, rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND,
		"the task type %q is not known: no worker has registered it, or it was retired; check the name: it is a method's full name, package.Service.Method", name).
		Field(field, "unknown task type")
}

// ListTaskTypes implements warren.admin.v1.AdminService. It shows what this
// gateway goes by, also while its store does not answer.
func (s *Service) ListTaskTypes(_ context.Context, r *adminv1.ListTaskTypesRequest) (*adminv1.ListTaskTypesResponse, error) {
	after, err := placeOf(typesAfter, r.PageToken)
	if err != nil {
		return nil, err
	}
	size := pageSize(r.PageSize)
	out := &adminv1.ListTaskTypesResponse{}
	for _, t := range s.cfg.Types.All() {
		if t.Name <= after {
			continue
		}
		if len(out.TaskTypes) == size {
			out.NextPageToken = tokenOf(typesAfter, out.TaskTypes[size-1].Name)
			break
		}
		out.TaskTypes = append(out.TaskTypes, typeToProto(&t))
	}
	return out, nil
}

// typesAfter marks page tokens of ListTaskTypes.
const typesAfter = "task types after "

func typeToProto(t *tasktypes.Type) *adminv1.TaskType {
	m := &adminv1.TaskType{
		Name: t.Name, Input: string(t.Input.FullName()), Output: string(t.Output.FullName()), Streaming: t.ServerStreaming,
		Declared: t.Options, Effective: t.Effective, Etag: etagOf(&t.Override),
	}
	if len(t.Override.Paths) > 0 {
		m.Override, m.OverrideMask = t.Override.Options, &fieldmaskpb.FieldMask{Paths: t.Override.Paths}
	}
	if t.Override.Version > 0 {
		m.OverrideReason, m.OverrideTime = t.Override.Reason, timestamppb.New(t.Override.Time)
	}
	for _, source := range t.Sources() {
		m.OptionSources = append(m.OptionSources, &adminv1.OptionSource{Path: source.Path, Origin: origins[source.Origin]})
	}
	return m
}

var origins = map[policy.Origin]adminv1.OptionOrigin{
	policy.OriginDefault:  adminv1.OptionOrigin_OPTION_ORIGIN_DEFAULT,
	policy.OriginDeclared: adminv1.OptionOrigin_OPTION_ORIGIN_PROTO,
	policy.OriginOverride: adminv1.OptionOrigin_OPTION_ORIGIN_OPERATOR,
}

// etagOf changes with every override; there is one before the first, too.
func etagOf(o *tasktypes.Override) string { return strconv.FormatInt(o.Version, 10) }
