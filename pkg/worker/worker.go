package worker

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
)

// scope names the instrumentation in traces and metrics.
const scope = "github.com/warrenmq/warren/pkg/worker"

// Worker runs registered gRPC methods on tasks. Register first, then Run once.
type Worker struct {
	cfg      Config
	broker   broker.Config
	identity *brokerv1.WorkerIdentity
	tracer   trace.Tracer

	services []string
	refused  []string
	methods  map[string]*method
	unary    grpc.UnaryServerInterceptor
	stream   grpc.StreamServerInterceptor
	started  atomic.Bool

	announced catalogue.Announcement
	pools     map[string]*pool
	conn      *broker.Connection
	publisher *broker.Publisher
	status    statusWriter
	answers   answers[*brokerv1.RegistrationAnswer]
	starts    answers[*brokerv1.StartAnswer]
	questions *questions
	gate      *gate
	clock     clock
	// cancelled is what is not to be started any more, executions what is under way.
	cancelled  *cancellations
	executions *executions
	beatAsked  chan struct{}
	// announceAsked has a value when a gateway asks for the services anew.
	announceAsked chan struct{}
	// drainAsked is closed when a gateway asks the worker to drain.
	drainAsked chan struct{}
	drainOnce  sync.Once

	// taking guards the step from taking tasks to taking no more: once stopTaking
	// has ended, running only goes down and no credit is issued. Then idle is
	// closed when nothing runs any more.
	taking     sync.RWMutex
	stopTaking context.Context
	cease      context.CancelFunc
	stopping   <-chan struct{}
	running    sync.WaitGroup
	idle       chan struct{}
	// patience is ignoresItsEnd but in tests, and startTimeout the constant.
	patience, startTimeout time.Duration
	// stuck counts the handlers that were written off; tooManyStuck is closed when
	// there are too many.
	stuck        atomic.Int32
	tooManyStuck chan struct{}
	giveUp       func()
	// turnedAway has why the worker is refused, once it is.
	turnedAway chan error
	// draining ends when running handlers are to give their tasks back.
	draining context.Context
	drain    context.CancelCauseFunc
	// links counts those that are being served, controls the control queues.
	links, controls atomic.Int32
}

// New makes a worker.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	id := task.NewID()
	b, err := cfg.broker(id)
	if err != nil {
		return nil, err
	}
	w := &Worker{
		cfg:     cfg,
		broker:  b,
		tracer:  cfg.TracerProvider.Tracer(scope),
		methods: map[string]*method{},
		unary:   chainUnary(cfg.UnaryInterceptors),
		stream:  chainStream(cfg.StreamInterceptors),
		identity: &brokerv1.WorkerIdentity{
			WorkerId: id, Host: valid(hostname()), Pid: int64(os.Getpid()), Version: valid(cfg.Version), StartTime: timestamppb.Now(),
		},
		idle: make(chan struct{}), questions: newQuestions(), gate: newGate(), tooManyStuck: make(chan struct{}), turnedAway: make(chan error, 1),
		cancelled: newCancellations(), executions: newExecutions(), beatAsked: make(chan struct{}, 1), announceAsked: make(chan struct{}, 1), drainAsked: make(chan struct{}),
		patience: ignoresItsEnd, startTimeout: startTimeout,
	}
	w.giveUp = sync.OnceFunc(func() { close(w.tooManyStuck) })
	w.stopTaking, w.cease = context.WithCancel(context.Background())
	w.stopping = w.stopTaking.Done()
	w.draining, w.drain = context.WithCancelCause(context.Background())
	return w, nil
}

// ID is the worker's id, new with each New.
func (w *Worker) ID() string { return w.identity.WorkerId }

// Run carries out tasks until ctx ends, or a gateway asks the worker to drain, which
// is an operator's DrainWorker. Then it drains: it takes no more,
// lets running handlers finish within the grace, then cancels their contexts
// and gives their tasks back, which spends no attempt. It returns nil when all
// that is done, [ErrStuck] or [ErrRefused] when it did so by itself, and another
// error when it could not start.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("worker: Run was called twice")
	}
	var err error
	if w.announced, err = w.announcement(); err != nil {
		return err
	}
	for _, name := range w.refused {
		w.cfg.Logger.Warn("no task type: only unary and server-streaming methods are", "method", name)
	}
	w.pools = map[string]*pool{}
	for name := range w.methods {
		w.pools[name] = newPool(w.cfg.Concurrency, w.cfg.Prefetch)
		w.pools[name].exchange, w.pools[name].queue = w.broker.Names().Tasks(), w.broker.Names().Work(name)
	}
	stopMeasuring, err := w.measure()
	if err != nil {
		return err
	}
	defer stopMeasuring()
	w.conn = broker.NewConnection(w.broker, "publish", (*broker.Topology).CheckShared)
	w.publisher = broker.NewPublisher(w.conn)
	w.status = broker.NewStatusWriter(w.publisher)
	if err := w.run(ctx); err != nil {
		return err
	}
	return w.trouble()
}

// ErrStuck says that too many handlers ignore the end of their contexts: end the
// process, and start it again.
var ErrStuck = errors.New("too many handlers are stuck: this process is to be started again")

// ErrRefused says that a gateway registers nothing of what the worker serves, and why:
// starting it again does not help, unless that is mended.
var ErrRefused = errors.New("refused")

// turnAway has the worker end, because it is refused.
func (w *Worker) turnAway(err error) {
	select {
	case w.turnedAway <- err:
	default:
	}
}

func (w *Worker) trouble() error {
	select {
	case <-w.tooManyStuck:
		return ErrStuck
	default:
		return nil
	}
}

// run owns every goroutine of the worker. They end in the order in which they
// need each other: links first, then status, then the connection.
func (w *Worker) run(ctx context.Context) (refused error) {
	background := context.WithoutCancel(ctx)
	connection := start(background, w.conn.Run)
	status := start(background, w.status.Run)
	asking := start(background, w.askStarts)
	beats := start(background, w.beat)
	announcing := start(background, w.announce)
	links := start(background, func(ctx context.Context) { broker.RunLinks(ctx, w.broker, w.serveLink) })
	select {
	case <-ctx.Done():
	case <-w.drainAsked:
	case <-w.tooManyStuck:
	case refused = <-w.turnedAway:
	}
	w.stop()
	if w.links.Load() > 0 && w.isIdle() {
		within(links.done, settleTimeout)
	}
	links.stop()
	announcing.stop()
	asking.stop()
	beats.stop()
	w.goodbye(background)
	status.stop()
	connection.stop()
	return refused
}

// unresponsive bounds the wait for handlers that ignore their ended context.
const unresponsive = 5 * time.Second

// stop drains in two steps.
func (w *Worker) stop() {
	w.cfg.Logger.Info("stopping: taking no more tasks", "grace", w.cfg.Grace)
	w.taking.Lock()
	w.cease()
	w.taking.Unlock()
	go func() {
		defer close(w.idle)
		w.running.Wait()
	}()
	if w.cfg.Grace > 0 && within(w.idle, w.cfg.Grace) {
		return
	}
	w.drain(errDraining)
	if !within(w.idle, unresponsive) {
		w.cfg.Logger.Warn("handlers ignore the end of their contexts; their tasks will be executed again by another worker")
	}
}

// whileTaking calls f unless the worker is to take no more tasks, and says
// whether it did. f must not block.
func (w *Worker) whileTaking(f func()) bool {
	w.taking.RLock()
	defer w.taking.RUnlock()
	select {
	case <-w.stopping:
		return false
	default:
		f()
		return true
	}
}

func (w *Worker) isIdle() bool {
	select {
	case <-w.idle:
		return true
	default:
		return false
	}
}

// within waits for done at most d.
func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// service is a goroutine that is told to stop, and waited for.
type service struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func start(ctx context.Context, run func(context.Context)) service {
	ctx, cancel := context.WithCancel(ctx)
	s := service{cancel, make(chan struct{})}
	go func() {
		defer close(s.done)
		run(ctx)
	}()
	return s
}

func (s service) stop() {
	s.cancel()
	<-s.done
}
