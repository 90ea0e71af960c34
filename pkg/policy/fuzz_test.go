package policy_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

// FuzzDecide: whatever a failure's details, there is a decision within bounds.
func FuzzDecide(f *testing.F) {
	for _, d := range failed(10, info("X", "d"), retryInfo(time.Hour), info("RESULT_TOO_LARGE", "warren")).Details {
		f.Add(10, d.TypeURL, d.Value, "", []byte(nil))
		f.Add(14, "google.rpc.RetryInfo", d.Value, d.TypeURL, d.Value)
	}
	f.Add(-1, "/", []byte("\xff"), "type.googleapis.com/google.rpc.RetryInfo", []byte("\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	p := compiled(f, rules(&taskv1.RetryRule{Codes: []string{"ABORTED"}, Reason: "X", Action: ignore}, &taskv1.RetryRule{Domain: "d", Action: retry}))
	f.Fuzz(func(t *testing.T, code int, url1 string, value1 []byte, url2 string, value2 []byte) {
		a := attempt(1, &task.Failure{Code: code, Details: []task.Detail{{TypeURL: url1, Value: value1}, {TypeURL: url2, Value: value2}}})
		d := p.Decide(a)
		if d.Retry == (d.Cause != 0) || d.Why == "" {
			t.Fatalf("%+v", d)
		}
		if d.Retry && (d.At.Before(a.Now.Add(policy.MinDelay)) || d.At.After(a.Now.Add(policy.MaxDelay))) {
			t.Fatalf("%+v", d)
		}
	})
}

// FuzzOptions: whatever the bytes of options, they are refused with a field or
// work.
func FuzzOptions(f *testing.F) {
	for _, o := range []*taskv1.TaskOptions{
		{}, defaults(nil), once(nil), rules(rule(retry, "NOT_FOUND"), rule(9, "OK"), rule(dead)),
		retrying(&taskv1.RetryPolicy{Backoff: list(none, time.Second, time.Hour)}),
		retrying(&taskv1.RetryPolicy{Backoff: fixed(time.Second, 7)}),
	} {
		b, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		o := new(taskv1.TaskOptions)
		if proto.Unmarshal(encoded, o) != nil {
			return
		}
		invalid := policy.Validate(o)
		if wrong := new(policy.FieldError); invalid != nil && (!errors.As(invalid, &wrong) || wrong.Field == "") {
			t.Fatalf("names no field: %v", invalid)
		}
		p, err := policy.Compile(o)
		if invalid == nil && err != nil {
			t.Fatalf("valid, but %v", err)
		}
		for n := range 3 {
			p.Decide(attempt(n, failed(10)))
		}
		if _, err := (policy.Policy{}).Submission(o.GetTimeout(), o.GetRetry()); err != nil && !errors.As(err, new(*policy.FieldError)) {
			t.Fatal(err)
		}
		in := policy.Effective(o, nil, nil)
		if !proto.Equal(in, policy.Effective(in, nil, nil)) {
			t.Fatalf("not idempotent: %v", in)
		}
	})
}
