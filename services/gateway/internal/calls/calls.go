package calls

import (
	"context"
	"log/slog"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// Tasks is what calls need of the task service, as api.TaskService has it.
type Tasks interface {
	SubmitCall(ctx context.Context, r *taskv1.SubmitTaskRequest, a api.Answer) (taskID string, end *watch.End, err error)
	AwaitOutcome(ctx context.Context, taskID string, end *watch.End) (watch.Outcome, error)
	Follow(ctx context.Context, taskID string, see func(*task.Task, *task.NumberedEvent) (enough bool, err error)) error
	CancelTask(ctx context.Context, r *taskv1.CancelTaskRequest) (*taskv1.CancelTaskResponse, error)
	// Stopping says that calls are ended because the gateway stops.
	Stopping() bool
}

// Config is what a handler needs.
type Config struct {
	Catalogue *catalogue.Catalogue
	// CatalogueLoaded says whether task types of earlier days are known.
	CatalogueLoaded func() bool
	Tasks           Tasks
	Logger          *slog.Logger
}

// Handler answers calls of methods that no service of the gateway has. Give its
// methods to [rpc.ServerConfig].
type Handler struct{ cfg Config }

// New makes a handler.
func New(cfg Config) *Handler { return &Handler{cfg} }

// Known says whether calls of a method become tasks.
func (h *Handler) Known(fullMethod string) bool {
	_, ok := h.cfg.Catalogue.Type(fullMethod)
	return ok
}

// Handle is a grpc.StreamHandler for methods that are not known to the server.
func (h *Handler) Handle(srv any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	// By its name, before anything is received: whoever calls what can't be a task is
	// told at once.
	t, ok := h.cfg.Catalogue.Type(method)
	if !ok {
		return h.unknown(srv, ss, method)
	}
	if err := checkContentType(ss.Context()); err != nil {
		return err
	}
	c, err := newCall(h, t, ss)
	if err != nil {
		return err
	}
	return c.serve()
}

func (h *Handler) unknown(srv any, ss grpc.ServerStream, method string) error {
	if r, ok := h.cfg.Catalogue.Refused(method); ok {
		return rpc.Errorf(codes.Unimplemented, taskv1.ErrorReason_ERROR_REASON_METHOD_NOT_FOUND,
			"%s can't be called here: %s", method, r.Message)
	}
	if !h.cfg.CatalogueLoaded() {
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED,
			"nothing was submitted: this gateway has not loaded its task types yet; call again")
	}
	return rpc.UnknownMethod(srv, ss)
}

// checkContentType refuses encodings other than protobuf: the server takes any body
// for that.
func checkContentType(ctx context.Context) error {
	for _, contentType := range metadata.ValueFromIncomingContext(ctx, "content-type") {
		name, _, _ := strings.Cut(contentType, ";")
		if name = strings.ToLower(strings.TrimSpace(name)); name != "application/grpc" && name != "application/grpc+proto" {
			return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
				"messages of content type %q are not understood here; send protobuf, as application/grpc or application/grpc+proto", strings.ToValidUTF8(contentType, "\uFFFD"))
		}
	}
	return nil
}
