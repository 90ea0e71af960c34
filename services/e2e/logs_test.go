package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

const (
	// payloadMarker is in payloads, secretMarker in passwords and headers.
	payloadMarker = "PAYLOAD-7f3a9c"
	secretMarker  = "SECRET-51e0bd"
)

// talkative has processes log all they can.
var talkative = []string{"--log-level", "debug", "--log-format", "json"}

// requireSilence demands that no log has a marker.
func requireSilence(t testing.TB, processes ...*process) {
	t.Helper()
	for _, p := range processes {
		b, err := os.ReadFile(p.log)
		require.NoError(t, err)
		for line := range bytes.Lines(b) {
			for _, marker := range []string{payloadMarker, secretMarker} {
				require.NotContains(t, string(line), marker, p.name)
			}
		}
	}
}

// A payload that fails in every way, secrets in URLs and values of headers are in no
// log, at no level.
func TestLogsHaveNoPayloadsAndNoSecrets(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	user := b.DeclareUser(t, "logs-"+b.VHost, secretMarker, ".*", ".*", ".*")
	p := newPlatform(t, user, withFlags(talkative...))
	p.startDeadletter(t, talkative...)
	w := p.startWorker(t, "--log-format", "json")
	p.awaitReady(t, typeResult)

	t.Run("refused", func(t *testing.T) { p.refusedPayloads(t) })
	t.Run("foreign", func(t *testing.T) {
		b.Publish(t, "warren.tasks", typeResult, amqp091.Publishing{Body: []byte(payloadMarker)})
		b.Publish(t, "warren.tasks", typeResult, amqp091.Publishing{
			MessageId: "x", Headers: amqp091.Table{"warren-task": []byte(payloadMarker), "other": secretMarker}, Body: []byte(payloadMarker),
		})
		b.Publish(t, "", "warren.status", amqp091.Publishing{Body: []byte(payloadMarker)})
		p.awaitDead(t, `cause = "UNDECODABLE"`, 3, 20*time.Second)
	})
	t.Run("dead", func(t *testing.T) { p.deadWithPayload(t, w) })
	p.gateway.terminate(t, 20*time.Second)
	p.deadletter.terminate(t, 20*time.Second)
	w.terminate(t, 20*time.Second)
	requireSilence(t, p.gateway, p.deadletter, w)
}

// refusedPayloads are those that no task comes of.
func (p *platform) refusedPayloads(t *testing.T) {
	garbage := append([]byte{0x0a, 0xff, 0x01}, payloadMarker...)
	_, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{
		Type: typeResult, Payload: &anypb.Any{TypeUrl: "type.googleapis.com/demo.v1.ThumbnailRequest", Value: garbage},
	})
	requireReason(t, err, "PAYLOAD_UNDECODABLE")
	_, err = p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{
		Type: typeResult, Payload: payload(t, &demov1.ThumbnailRequest{Image: bytes.Repeat([]byte(payloadMarker), 1<<19)}),
	})
	requireReason(t, err, "PAYLOAD_TOO_LARGE")
	images := demov1.NewImageServiceClient(p.conn)
	_, err = images.Thumbnail(calling(t, 10*time.Second, "warren-labels", secretMarker, "authorization", secretMarker), &demov1.ThumbnailRequest{Image: []byte(payloadMarker)})
	requireReason(t, err, "INVALID_REQUEST")
	require.ErrorContains(t, err, secretMarker, "the caller is told what is wrong")
}

// deadWithPayload has tasks die with the marker in their payloads, one by a panic and one
// by its result, and replays the first.
func (p *platform) deadWithPayload(t *testing.T, w *process) {
	panics := &demov1.ThumbnailRequest{Image: []byte(payloadMarker), MaxWidth: -1, MaxHeight: 1}
	large := &demov1.ThumbnailRequest{Image: []byte(payloadMarker), MaxWidth: 3 << 10, MaxHeight: 3 << 10}
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	submitted, err := p.tasks.SubmitTask(calling(t, 10*time.Second, "traceparent", "00-"+traceID+"-00f067aa0ba902b7-00"),
		&taskv1.SubmitTaskRequest{Type: typeResult, Payload: payload(t, panics), Retry: quickly(1)})
	require.NoError(t, err)
	dead := submitted.Task.TaskId
	failure := p.await(t, dead).Failure
	require.Contains(t, failure.Message, "panic: runtime error: makeslice")
	tooLarge := p.ask(t, typeResult, large, func(r *taskv1.SubmitTaskRequest) { r.Retry = quickly(1) }).TaskId
	require.NotContains(t, p.await(t, tooLarge).Failure.Message, payloadMarker)
	_, err = demov1.NewImageServiceClient(p.conn).Thumbnail(calling(t, 20*time.Second, "warren-max-attempts", "1", "x-token", secretMarker), panics)
	require.Equal(t, codes.Internal, status.Code(err))

	p.deadLetter(t, dead, open)
	require.EqualValues(t, 2, p.replay(t, dead))
	again := p.deadLetter(t, dead, func(d *deadletterv1.DeadLetter) bool { return open(d) && d.Run == 2 })
	require.Contains(t, string(again.Message.Body), payloadMarker, "the payload is where it belongs")

	// Each death is one line of the worker's, and one of the dead letter, with the same keys.
	for run := 1; run <= 2; run++ {
		died := p.lineAbout(t, w, dead, run, "a task has died")
		require.Equal(t, "ERROR", died["level"])
		if run == 1 {
			require.Equal(t, traceID, died["trace_id"])
		}
		captured := p.lineAbout(t, p.deadletter, dead, run, "dead letter")
		for _, key := range []string{"task_id", "task_type", "run", "attempt", "trace_id", "cause", "code"} {
			require.Equal(t, died[key], captured[key], key)
		}
	}
}

// lineAbout waits for a process's one line with this text about a run of a task.
func (p *platform) lineAbout(t testing.TB, of *process, id string, run int, text string) map[string]any {
	t.Helper()
	var found []map[string]any
	brokertest.Eventually(t, 10*time.Second, func() error {
		found = nil
		b, err := os.ReadFile(of.log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b) {
			var fields map[string]any
			if json.Unmarshal(line, &fields) == nil && fields["task_id"] == id && fields["run"] == float64(run) && fields["msg"] == text {
				found = append(found, fields)
			}
		}
		if len(found) != 1 {
			return fmt.Errorf("%s has %d lines %q about run %d of %s", of.name, len(found), text, run, id)
		}
		return nil
	})
	return found[0]
}

// What a rule of the user's own says of a payload is told to the caller, and not logged.
func TestLogsHaveNothingOfBrokenRules(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t, withFlags(talkative...))
	f := &forwarding{platform: p, target: demoTarget, address: porttest.Address(t)}
	f.server = startDemo(t, p, f.address)
	quoting := changedSet(t, "FailRequest", func(m *descriptorpb.DescriptorProto) {
		rules := &validate.FieldRules{Cel: []*validate.Rule{{
			Id: proto.String("short"), Expression: proto.String("this.size() < 3 ? '' : '\"' + this + '\" is too long'"),
		}}}
		for _, field := range m.Field {
			if field.GetName() == "message" {
				field.Options = &descriptorpb.FieldOptions{}
				proto.SetExtension(field.Options, validate.E_Field, rules)
			}
		}
	})
	w := startProcess(t, "forwarder", f.env, forwarderBinary, "--amqp-url", p.amqpURL, "--target", f.address, "--metrics-listen", "",
		"--descriptors", quoting, "--service", "demo.v1.FaultService", "--log-level", "debug")
	p.awaitReady(t, typeFail)
	bad := &demov1.FailRequest{Message: payloadMarker}
	_, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, bad)})
	requireReason(t, err, "PAYLOAD_INVALID")
	require.ErrorContains(t, err, payloadMarker)
	_, err = demov1.NewFaultServiceClient(p.conn).Fail(calling(t, 10*time.Second), bad)
	requireReason(t, err, "PAYLOAD_INVALID")
	batch, err := p.tasks.BatchSubmitTasks(t.Context(), &taskv1.BatchSubmitTasksRequest{
		Requests: []*taskv1.SubmitTaskRequest{{Type: typeFail, Payload: payload(t, bad)}},
	})
	require.NoError(t, err)
	require.Contains(t, batch.Results[0].GetError().GetMessage(), payloadMarker)
	p.gateway.terminate(t, 20*time.Second)
	w.terminate(t, 20*time.Second)
	requireSilence(t, p.gateway, w)
}

// A broker's password is in no log, wherever connecting to it fails.
func TestLogsHaveNoPasswords(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	right, err := url.Parse(b.URL)
	require.NoError(t, err)
	wrong := *right
	wrong.User = url.UserPassword("guest", secretMarker)
	nobody := *right
	nobody.User, nobody.Host = url.UserPassword("guest", secretMarker), porttest.Address(t)
	for name, amqpURL := range map[string]string{"wrong password": wrong.String(), "nobody there": nobody.String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t, amqpURL, withFlags("--log-level", "debug"))
			p.startDeadletter(t, "--log-level", "debug")
			all := []*process{p.gateway, p.deadletter, p.startWorker(t), startProcess(t, "forwarder", nil, forwarderBinary,
				"--amqp-url", amqpURL, "--target", porttest.Address(t), "--metrics-listen", "", "--log-level", "debug")}
			for _, process := range all[:3] {
				// The forwarding worker waits for its target first.
				brokertest.Eventually(t, 20*time.Second, func() error { return process.said(right.Scheme + "://") })
			}
			for _, process := range all {
				process.kill()
			}
			requireSilence(t, all...)
		})
	}
	t.Run("no URL", func(t *testing.T) {
		t.Parallel()
		for _, program := range []string{gatewayBinary, deadletterBinary, forwarderBinary} {
			p := startProcess(t, "refused", nil, program, "--amqp-url", "http://guest:"+secretMarker+"@127.0.0.1:x/")
			select {
			case <-p.done:
			case <-time.After(20 * time.Second):
				t.Fatal("a process goes on with a bad URL")
			}
			require.NotZero(t, p.cmd.ProcessState.ExitCode())
			requireSilence(t, p)
		}
	})
}

// Tasks that succeed, and calls that are answered, are no lines at info.
func TestLogsHaveNothingOfSuccess(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t, withFlags("--log-format", "json"))
	p.startDeadletter(t)
	w := p.startWorker(t, "--log-level", "info")
	p.awaitReady(t, typeDelay)
	p.awaitDead(t, "", 0, 20*time.Second)
	p.await(t, p.submit(t, typeDelay, delay(0)).TaskId)
	all := []*process{p.gateway, p.deadletter, w}
	before := map[*process][]byte{}
	for _, process := range all {
		var err error
		before[process], err = os.ReadFile(process.log)
		require.NoError(t, err)
		require.NotEmpty(t, before[process], process.name)
	}
	var ids []string
	for range 100 {
		ids = append(ids, p.submit(t, typeDelay, delay(0)).TaskId)
	}
	for _, id := range ids {
		p.await(t, id)
		p.attempts(t, id)
	}
	_, err := demov1.NewFaultServiceClient(p.conn).Delay(calling(t, 10*time.Second), delay(0))
	require.NoError(t, err)
	for _, process := range all {
		text, err := os.ReadFile(process.log)
		require.NoError(t, err)
		text = text[len(before[process]):]
		// What it says of itself meanwhile does not grow with the tasks.
		require.Less(t, bytes.Count(text, []byte("\n")), 20, "%s: %s", process.name, text)
		require.NotContains(t, string(text), "task_id", process.name)
		require.NotContains(t, string(text), "finished call", process.name)
	}
}
