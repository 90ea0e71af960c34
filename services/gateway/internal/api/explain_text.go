package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/task"
)

// when is a time for people.
func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// span is a duration for people, in its largest unit.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// ago is a time that has passed, and how long since.
func (s *situation) ago(t time.Time) string { return when(t) + ", " + span(s.now.Sub(t)) + " ago" }

// ahead is a time to come, and how long until then.
func (s *situation) ahead(t time.Time) string { return when(t) + ", in " + span(t.Sub(s.now)) }

// because is a reason in brackets, nothing for none.
func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + valid(reason) + ")"
}

// maxFailureText bounds what of a failure's message is told, in bytes.
const maxFailureText = 300

// failureText is a failure for people.
func failureText(f *task.Failure) string {
	if f == nil {
		return ""
	}
	name := code.Code_name[int32(f.Code)]
	if name == "" {
		name = fmt.Sprintf("code %d", f.Code)
	}
	message := valid(f.Message)
	if len(message) > maxFailureText {
		message = strings.ToValidUTF8(message[:maxFailureText], "") + "…"
	}
	if message == "" {
		return name
	}
	return name + ": " + message
}

// list joins parts of a sentence.
func list(parts []string) string { return strings.Join(parts, ", and ") }

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// be is the verb for a number of things.
func be(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// callTo is a call to make: what it does, the method's full name and the request, as
// grpcurl takes them.
func callTo(what, method string, request proto.Message) string {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(request)
	var compact bytes.Buffer
	if err == nil {
		err = json.Compact(&compact, text) // protojson's spaces differ between builds
	}
	if err != nil {
		return what + ": " + strings.TrimPrefix(method, "/")
	}
	return what + ": " + strings.TrimPrefix(method, "/") + " " + compact.String()
}
