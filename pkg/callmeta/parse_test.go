package callmeta

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

func TestParse(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 31, 12, 0, 0, 500_000_000, time.UTC)
	long := strings.Repeat("a", 256)
	cases := []struct {
		key, value string
		want       Options
	}{
		{KeyMode, "async", Options{Mode: ModeAsync}},
		{KeyMode, "sync", Options{}},
		{KeyPriority, "1", Options{Priority: 1}},
		{KeyPriority, "9", Options{Priority: 9}},
		{KeyPriority, "LOW", Options{Priority: taskv1.Priority_PRIORITY_LOW}},
		{KeyPriority, "NORMAL", Options{Priority: taskv1.Priority_PRIORITY_NORMAL}},
		{KeyPriority, "high", Options{Priority: taskv1.Priority_PRIORITY_HIGH}},
		{KeyPriority, "CRITICAL", Options{Priority: taskv1.Priority_PRIORITY_CRITICAL}},
		{KeyDelay, "90s", Options{Delay: 90 * time.Second}},
		{KeyDelay, "1h30m", Options{Delay: 90 * time.Minute}},
		{KeyDelay, "0", Options{}},
		{KeyDelay, "87600h", Options{Delay: MaxDelay}},
		{KeyExpire, "10ms", Options{ExpireAfter: 10 * time.Millisecond}},
		{KeyExpire, "2030-01-31T13:00:00.5+01:00", Options{ExpireTime: at}},
		{KeyExpire, "2030-01-31T12:00:00.5Z", Options{ExpireTime: at}},
		{KeyLabels, "a=1", Options{Labels: map[string]string{"a": "1"}}},
		{KeyLabels, "a=1, b=2 ,c=", Options{Labels: map[string]string{"a": "1", "b": "2", "c": ""}}},
		{KeyLabels, "a%2Fb=x%3D%2C+%C3%A9%25", Options{Labels: map[string]string{"a/b": "x=, é%"}}},
		{KeyLabels, "a=b=c", Options{Labels: map[string]string{"a": "b=c"}}},
		{KeyLabels, "a=" + long, Options{Labels: map[string]string{"a": long}}},
		{KeyMaxAttempts, "1", Options{MaxAttempts: 1}},
		{KeyMaxAttempts, "1000", Options{MaxAttempts: 1000}},
		{KeyIdempotencyKey, "order-7+8 9", Options{IdempotencyKey: "order-7+8 9"}},
		{KeyIdempotencyKey, "%c3%A9%25%20", Options{IdempotencyKey: "é% "}},
		{KeyIdempotencyKey, long, Options{IdempotencyKey: long}},
		{KeyCancelOnDisconnect, "true", Options{CancelOnDisconnect: true}},
		{KeyCancelOnDisconnect, "false", Options{}},
		{KeyHeaders, "late", Options{LateHeaders: true}},
		{KeyTaskID, "anything", Options{}},
		{KeyRun, "1", Options{}},
		{KeyAttempt, "x", Options{}},
		{"x-request-id", "7", Options{}},
		{"warrenty", "none", Options{}},
	}
	for _, c := range cases {
		t.Run(c.key+" "+clip(c.value), func(t *testing.T) {
			t.Parallel()
			got, err := Parse(metadata.Pairs(c.key, c.value))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	many := strings.TrimSuffix(strings.Repeat("a=1,", MaxLabels+1), ",")
	cases := []struct{ key, value, problem string }{
		{KeyMode, "Async", `is "Async", and must be sync or async`},
		{KeyMode, "", "is empty"},
		{KeyPriority, "0", "a number from 1 to 9"},
		{KeyPriority, "10", "a number from 1 to 9"},
		{KeyPriority, "4294967300", "a number from 1 to 9"},
		{KeyPriority, "PRIORITY_HIGH", "one of LOW, NORMAL, HIGH, CRITICAL"},
		{KeyDelay, "90", "such as 90s"},
		{KeyDelay, "-1s", "from 0s"},
		{KeyDelay, "87600h1ns", "to 87600h"},
		{KeyDelay, "999999999h", "a duration"},
		{KeyExpire, "0s", "above 0s"},
		{KeyExpire, "-1s", "above 0s"},
		{KeyExpire, "2030-01-31", "2030-01-31T13:00:00Z"},
		{KeyExpire, "0000-01-01T00:00:00Z", "or a time"},
		{KeyExpire, "0001-01-01T00:00:00Z", "or a time"},
		{KeyExpire, "tomorrow", `is "tomorrow"`},
		{KeyLabels, "", "is empty"},
		{KeyLabels, "a", `has "a", which is not KEY=VALUE`},
		{KeyLabels, "a=1,", `has "", which is not KEY=VALUE`},
		{KeyLabels, "=1", "has a key that is not 1 to 63"},
		{KeyLabels, "a b=1", "has a key that is not"},
		{KeyLabels, "%0A=1", "has a key that is not"},
		{KeyLabels, strings.Repeat("k", 64) + "=1", "has a key that is not"},
		{KeyLabels, "a=%zz", "not escaped as in the query of a URL"},
		{KeyLabels, "a=%ff", "not UTF-8"},
		{KeyLabels, "a=" + strings.Repeat("v", 257), "has a value of 257 bytes; at most 256"},
		{KeyLabels, "a=1,%61=2", "has the label a twice"},
		{KeyLabels, many, "more than 32 labels"},
		{KeyMaxAttempts, "0", "from 1 to 1000"},
		{KeyMaxAttempts, "1001", "from 1 to 1000"},
		{KeyMaxAttempts, "many", "from 1 to 1000"},
		{KeyIdempotencyKey, "", "is empty"},
		{KeyIdempotencyKey, "50%", "write %25 for the sign itself"},
		{KeyIdempotencyKey, "%ff", "must be UTF-8"},
		{KeyIdempotencyKey, "\xff", `is "\xff", and must be UTF-8`},
		{KeyIdempotencyKey, strings.Repeat("k", 257), "has 257 bytes; at most 256"},
		{KeyCancelOnDisconnect, "yes", "true or false"},
		{KeyHeaders, "early", `is "early", and must be late`},
		{"warren-prio", "1", "is not known; known are warren-cancel-on-disconnect, warren-delay, warren-expire, warren-headers, warren-idempotency-key, warren-labels, warren-max-attempts, warren-mode, warren-priority"},
		{"warren-", "1", "is not known"},
	}
	for _, c := range cases {
		t.Run(c.key+" "+clip(c.value), func(t *testing.T) {
			t.Parallel()
			got, err := Parse(metadata.Pairs(c.key, c.value))
			var bad *Error
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.key, bad.Key)
			require.Contains(t, bad.Problem, c.problem)
			require.Equal(t, fmt.Sprintf("metadata %s %s", bad.Key, bad.Problem), err.Error())
			require.Zero(t, got)
		})
	}
}

func TestParseOfSeveralValues(t *testing.T) {
	t.Parallel()
	_, err := Parse(metadata.Pairs(KeyPriority, "1", KeyPriority, "1"))
	require.EqualError(t, err, "metadata warren-priority is given 2 times; give it once")
	_, err = Parse(metadata.Pairs(KeyTaskID, "1", KeyTaskID, "2"))
	require.NoError(t, err)
	o, err := Parse(metadata.MD{KeyPriority: nil})
	require.NoError(t, err)
	require.Zero(t, o)
}

func TestParseNamesTheFirstBadKey(t *testing.T) {
	t.Parallel()
	for range 20 {
		_, err := Parse(metadata.Pairs(KeyMode, "x", KeyDelay, "x", KeyHeaders, "x", KeyPriority, "5"))
		require.ErrorContains(t, err, KeyDelay)
	}
}

func TestWhatIsWrongIsShort(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("é", 1<<20)
	for key := range parsers {
		_, err := Parse(metadata.Pairs(key, huge))
		require.Error(t, err)
		require.Less(t, len(err.Error()), 500, key)
	}
	_, err := Parse(metadata.MD{Prefix + huge: {"1"}})
	require.Less(t, len(err.Error()), 500)
}
