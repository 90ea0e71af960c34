package worker

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// method is one registered method that tasks can be carried out with.
type method struct {
	// taskType is pkg.Service.Method, fullMethod /pkg.Service/Method.
	taskType, fullMethod string
	impl                 any
	unary                *grpc.MethodDesc
	stream               *grpc.StreamDesc
}

// RegisterService implements grpc.ServiceRegistrar. Like grpc's own it panics
// on an implementation of the wrong type, on a service that is registered
// twice, and when Run was called before. Client-streaming and bidirectional
// methods are no task types: Run reports them, the service's others work.
func (w *Worker) RegisterService(sd *grpc.ServiceDesc, impl any) {
	if w.started.Load() {
		panic("worker: RegisterService after Run for " + sd.ServiceName)
	}
	if slices.Contains(w.services, sd.ServiceName) {
		panic("worker: service " + sd.ServiceName + " is registered twice")
	}
	if impl != nil {
		want := reflect.TypeOf(sd.HandlerType).Elem()
		if got := reflect.TypeOf(impl); !got.Implements(want) {
			panic(fmt.Sprintf("worker: %v does not implement %v", got, want))
		}
	}
	w.services = append(w.services, sd.ServiceName)
	for i := range sd.Methods {
		w.addMethod(sd.ServiceName, sd.Methods[i].MethodName, method{impl: impl, unary: &sd.Methods[i]})
	}
	for i := range sd.Streams {
		s := &sd.Streams[i]
		if s.ClientStreams {
			w.refused = append(w.refused, sd.ServiceName+"."+s.StreamName)
			continue
		}
		w.addMethod(sd.ServiceName, s.StreamName, method{impl: impl, stream: s})
	}
}

func (w *Worker) addMethod(service, name string, m method) {
	m.taskType, m.fullMethod = service+"."+name, "/"+service+"/"+name
	w.methods[m.taskType] = &m
}

// announcement collects the descriptors of all registered services.
func (w *Worker) announcement() (catalogue.Announcement, error) {
	if len(w.methods) == 0 {
		return catalogue.Announcement{}, fmt.Errorf("nothing to work on: no unary or server-streaming method is registered (refused: %s)", strings.Join(w.refused, ", "))
	}
	names := make([]protoreflect.FullName, len(w.services))
	for i, s := range w.services {
		names[i] = protoreflect.FullName(s)
	}
	a, err := catalogue.Collect(protoregistry.GlobalFiles, names...)
	if err != nil {
		return a, fmt.Errorf("collect the registered services' descriptors: %w", err)
	}
	return a, nil
}
