package worker

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

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
//
// A description made by hand needs no HandlerType. Its handlers may take and
// give messages as they are encoded, in a *frame.Frame.
func (w *Worker) RegisterService(sd *grpc.ServiceDesc, impl any) {
	if w.started.Load() {
		panic("worker: RegisterService after Run for " + sd.ServiceName)
	}
	if slices.Contains(w.services, sd.ServiceName) {
		panic("worker: service " + sd.ServiceName + " is registered twice")
	}
	if impl != nil && sd.HandlerType != nil {
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
	if len(w.cfg.Descriptors) > 0 {
		return w.announcementAsGiven()
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

// announcementAsGiven announces Config.Descriptors, if they define all registered
// services. Whether they are sound is for the gateway to say.
func (w *Worker) announcementAsGiven() (catalogue.Announcement, error) {
	defined := map[string]bool{}
	for i, raw := range w.cfg.Descriptors {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(raw, &file); err != nil {
			return catalogue.Announcement{}, fmt.Errorf("decode descriptor %d of %d: %w", i+1, len(w.cfg.Descriptors), err)
		}
		for _, s := range file.Service {
			defined[string(protoreflect.FullName(file.GetPackage()).Append(protoreflect.Name(s.GetName())))] = true
		}
	}
	for _, s := range w.services {
		if !defined[s] {
			return catalogue.Announcement{}, fmt.Errorf("the given descriptors do not define the registered service %s", s)
		}
	}
	return catalogue.Announcement{Services: slices.Sorted(slices.Values(w.services)), Files: w.cfg.Descriptors}, nil
}
