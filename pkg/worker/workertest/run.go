package workertest

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker"
	"github.com/warrenmq/warren/pkg/worker/internal/rehearsal"
)

// Run runs the handler of a method on a task with the request, and says what comes
// of it. register registers the service, e.g. with a generated Register…Server. The
// method is named as in the generated code, `/package.Service/Method`, or as a task
// type, `package.Service.Method`.
//
// It returns once the handler has, or 30 s after its timeout if it ignores that. A
// failure of the handler is in the [Result]; what is wrong with the test itself ends
// the test.
func Run(t testing.TB, register func(grpc.ServiceRegistrar), method string, request proto.Message, opts ...Option) *Result {
	t.Helper()
	res, err := run(register, catalogue.TypeName(method), request, opts)
	if err != nil {
		t.Fatalf("workertest: %v", err)
	}
	return res
}

func run(register func(grpc.ServiceRegistrar), taskType string, request proto.Message, opts []Option) (*Result, error) {
	now := time.Now()
	s := &setting{task: rehearsal.Task{
		Message: broker.TaskMessage{
			ID: task.NewID(), Type: taskType, Run: 1, Copy: task.NewCopy(), Priority: task.PriorityNormal, CreateTime: now, RunTime: now,
		},
		Attempt: 1,
	}}
	for _, o := range opts {
		o(s)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	s.cfg.Logger = slog.New(slog.DiscardHandler)
	w, err := worker.New(s.cfg)
	if err != nil {
		return nil, fmt.Errorf("make a worker: %w", err)
	}
	register(w)
	declared, err := declaredType(w, taskType)
	if err != nil {
		return nil, err
	}
	if err := s.submit(declared, request); err != nil {
		return nil, err
	}
	outcome, err := w.Rehearse(s.task)
	if err != nil {
		return nil, err
	}
	return newResult(declared, outcome)
}

// check says what no task has.
func (s *setting) check() error {
	if s.task.Attempt < 1 || s.task.Message.Run < 1 || s.task.Ignored < 0 {
		return fmt.Errorf("attempts and runs count from 1, snoozes from 0: attempt %d, run %d, snoozed %d", s.task.Attempt, s.task.Message.Run, s.task.Ignored)
	}
	return nil
}

// declaredType is the task type as a gateway would know it, or what that would
// refuse.
func declaredType(w *worker.Worker, name string) (catalogue.TaskType, error) {
	a, err := w.Announcement()
	if err != nil {
		return catalogue.TaskType{}, err
	}
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	if err != nil {
		return catalogue.TaskType{}, fmt.Errorf("a gateway would refuse the registered services: %w", err)
	}
	var names []string
	for _, t := range bundle.TaskTypes() {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	for _, r := range bundle.Refusals() {
		if r.Name == name || strings.HasPrefix(name, r.Name+".") {
			return catalogue.TaskType{}, fmt.Errorf("a gateway would refuse %s: %s", r.Name, r.Message)
		}
	}
	return catalogue.TaskType{}, fmt.Errorf("no task type %q is registered, there are: %s", name, strings.Join(names, ", "))
}

// submit makes of the request what a gateway would.
func (s *setting) submit(t catalogue.TaskType, request proto.Message) error {
	if request == nil {
		return fmt.Errorf("no request: %s takes a %s", t.Name, t.Input.FullName())
	}
	if got := request.ProtoReflect().Descriptor().FullName(); got != t.Input.FullName() {
		return fmt.Errorf("%s takes a %s, not a %s", t.Name, t.Input.FullName(), got)
	}
	payload, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	declared := t.Options
	if s.options != nil {
		declared = s.options
	}
	s.task.Options = policy.Effective(declared, nil, nil)
	rules, err := policy.Compile(s.task.Options)
	if err != nil {
		return fmt.Errorf("the options of the task type: %w", err)
	}
	s.task.Message.Payload = payload
	if _, err := rules.Submission(s.task.Message.Timeout, s.task.Message.Retry); err != nil {
		return fmt.Errorf("a gateway would refuse the submission: %w", err)
	}
	return nil
}
