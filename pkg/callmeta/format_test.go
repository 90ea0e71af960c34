package callmeta

import (
	"testing"
	"time"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// drawOptions draws any options that may be asked for.
func drawOptions(t *rapid.T) Options {
	o := Options{
		Mode:               Mode(rapid.IntRange(0, 1).Draw(t, "mode")),
		Priority:           taskv1.Priority(rapid.IntRange(0, 9).Draw(t, "priority")),
		Delay:              time.Duration(rapid.Int64Range(0, int64(MaxDelay)).Draw(t, "delay")),
		MaxAttempts:        rapid.Int32Range(0, MaxAttempts).Draw(t, "attempts"),
		IdempotencyKey:     rapid.StringN(0, 256, MaxIdempotencyBytes).Draw(t, "key"),
		CancelOnDisconnect: rapid.Bool().Draw(t, "cancel"),
		LateHeaders:        rapid.Bool().Draw(t, "late"),
	}
	switch rapid.IntRange(0, 2).Draw(t, "expiry") {
	case 1:
		o.ExpireAfter = time.Duration(rapid.Int64Range(1, 1<<62).Draw(t, "after"))
	case 2:
		seconds := rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds")
		o.ExpireTime = time.Unix(seconds, rapid.Int64Range(1, 999_999_999).Draw(t, "nanos")).UTC()
	}
	if labels := rapid.MapOfN(rapid.StringMatching(`[a-zA-Z0-9._/-]{1,63}`), rapid.StringN(0, 256, MaxLabelValueBytes), 0, MaxLabels).Draw(t, "labels"); len(labels) > 0 {
		o.Labels = labels
	}
	return o
}

func TestOptionsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		md := o.Metadata()
		for key, values := range md {
			require.Len(t, values, 1)
			for _, c := range []byte(values[0]) {
				require.True(t, c > ' ' && c <= '~', "%s: %q", key, values[0])
			}
		}
		got, err := Parse(md)
		require.NoError(t, err)
		require.Equal(t, o, got)
	})
}

// What is accepted here has to be so by SubmitTask's own rules: a caller hears of a
// key that it gave, not of a field that it did not.
func TestWhatIsAcceptedIsAValidSubmission(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		o.ExpireAfter = min(o.ExpireAfter, 100*365*24*time.Hour)
		require.NoError(t, protovalidate.Validate(o.Request("a.B.C", &anypb.Any{}, time.Now())))
	})
}

func TestRequest(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	payload := &anypb.Any{TypeUrl: "x"}
	o := Options{Priority: 7, Delay: time.Minute, ExpireAfter: time.Hour, Labels: map[string]string{"a": "1"}, MaxAttempts: 3, IdempotencyKey: "k"}
	r := o.Request("a.B.C", payload, now)
	require.Equal(t, "a.B.C", r.Type)
	require.Same(t, payload, r.Payload)
	require.Equal(t, taskv1.Priority(7), r.Priority)
	require.Equal(t, time.Minute, r.Delay.AsDuration())
	require.Equal(t, now.Add(time.Hour), r.ExpireTime.AsTime())
	require.Equal(t, o.Labels, r.Labels)
	require.Equal(t, int32(3), r.Retry.MaxAttempts)
	require.Equal(t, "k", r.IdempotencyKey)

	r = (&Options{ExpireTime: now}).Request("a.B.C", payload, now)
	require.Equal(t, now, r.ExpireTime.AsTime())
	require.Nil(t, r.Delay)
	require.Nil(t, r.Retry)
	require.Nil(t, (&Options{}).Request("a.B.C", payload, now).ExpireTime)
}

func TestSetReplaces(t *testing.T) {
	t.Parallel()
	md := metadata.Pairs(KeyPriority, "1", KeyPriority, "2", KeyDelay, "1s", "x", "y")
	(&Options{Priority: 5}).Set(md)
	require.Equal(t, metadata.Pairs(KeyPriority, "5", KeyDelay, "1s", "x", "y"), md)
}

func TestFormats(t *testing.T) {
	t.Parallel()
	o := Options{
		Mode: ModeAsync, Priority: taskv1.Priority_PRIORITY_HIGH, Delay: 90 * time.Second, ExpireTime: time.Date(2030, 1, 31, 13, 0, 0, 0, time.FixedZone("", 3600)),
		Labels: map[string]string{"b": "x y,=", "a/b": "é"}, MaxAttempts: 1, IdempotencyKey: "a é%", CancelOnDisconnect: true, LateHeaders: true,
	}
	require.Equal(t, metadata.Pairs(
		KeyMode, "async", KeyPriority, "HIGH", KeyDelay, "1m30s", KeyExpire, "2030-01-31T12:00:00Z", KeyLabels, "a%2Fb=%C3%A9,b=x+y%2C%3D",
		KeyMaxAttempts, "1", KeyIdempotencyKey, "a%20%C3%A9%25", KeyCancelOnDisconnect, "true", KeyHeaders, "late",
	), o.Metadata())
	require.Empty(t, (&Options{}).Metadata())
}

// FuzzParse gives one key any value: it is refused with a short and printable
// reason, or what was read is written and read as the same again.
func FuzzParse(f *testing.F) {
	for key := range parsers {
		for _, value := range []string{"async", "9", "1h", "2030-01-31T13:00:00Z", "a=1,b=%41+x", "%41", "true", "late", "\xff", ""} {
			f.Add(key, value)
		}
	}
	f.Add("warren-\xff", "1")
	f.Fuzz(func(t *testing.T, key, value string) {
		o, err := Parse(metadata.MD{key: {value}})
		if err != nil {
			require.True(t, utf8.ValidString(err.Error()) && len(err.Error()) < 2000, "%q", err)
			return
		}
		again, err := Parse(o.Metadata())
		require.NoError(t, err)
		require.Equal(t, o, again)
		if o.ExpireAfter == 0 {
			require.NoError(t, protovalidate.Validate(o.Request("a.B.C", &anypb.Any{}, time.Now())))
		}
	})
}
