package fingerprint_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
)

var failure = fingerprint.Input{
	Type: "acme.v1.Orders.Ship", Cause: task.CauseAttemptsExhausted, Code: 14, Domain: "acme.com", Reason: "AWAY",
	Message: "order-4711: dial tcp 10.0.0.1:80: connection refused",
}

// The fingerprint of a failure must stay as it is as long as the version does.
func TestFingerprintIsForEver(t *testing.T) {
	t.Parallel()
	f := fingerprint.Of(failure)
	require.Equal(t, "order-<num>: dial tcp <addr>: connection refused", f.Message)
	require.Equal(t, 1, fingerprint.Version)
	require.Equal(t, "a08298c481ccee318a36a55f1f95ee89", f.GroupID())
	custom := failure
	custom.Custom = "mine"
	require.Equal(t, "f6154e0f370c2e3cfb301aec1415caef", fingerprint.Of(custom).GroupID())
}

func TestExplain(t *testing.T) {
	t.Parallel()
	e := fingerprint.Explain(failure)
	require.Equal(t, fingerprint.Of(failure), e.Fingerprint)
	require.Equal(t, [][2]string{
		{"version", "1"}, {"type", "acme.v1.Orders.Ship"}, {"cause", "ATTEMPTS_EXHAUSTED"}, {"code", "UNAVAILABLE"},
		{"domain", "acme.com"}, {"reason", "AWAY"}, {"message", e.Message},
	}, values(t, e))
	require.Equal(t, []fingerprint.Replacement{
		{Text: "4711", Offset: 6, Placeholder: fingerprint.Number}, {Text: "10.0.0.1:80", Offset: 21, Placeholder: fingerprint.Address},
	}, e.Replacements)
	require.Equal(t, hex.EncodeToString(e.Sum[:16]), e.GroupID())

	custom := failure
	custom.Custom = "mine"
	e = fingerprint.Explain(custom)
	require.Equal(t, [][2]string{{"version", "1"}, {"type", "acme.v1.Orders.Ship"}, {"fingerprint", "mine"}}, values(t, e))
	require.Empty(t, e.Replacements)
}

// values are the parts, whose sum must be the fingerprint.
func values(t *testing.T, e fingerprint.Explanation) (out [][2]string) {
	t.Helper()
	var hashed []byte
	for _, p := range e.Parts {
		require.NotEmpty(t, p.Source, p.Name)
		out = append(out, [2]string{p.Name, p.Value})
		for _, text := range []string{p.Name, p.Value} {
			hashed = append(binary.BigEndian.AppendUint32(hashed, uint32(len(text))), text...)
		}
	}
	require.Equal(t, sha256.Sum256(hashed), e.Sum)
	return out
}

func TestFingerprintTellsApart(t *testing.T) {
	t.Parallel()
	same := failure
	same.Message = "order-12: dial tcp 10.9.9.9:443: connection  refused\n"
	require.Equal(t, fingerprint.Of(failure).Sum, fingerprint.Of(same).Sum)
	for name, change := range map[string]func(*fingerprint.Input){
		"type":    func(in *fingerprint.Input) { in.Type = "acme.v1.Orders.Bill" },
		"cause":   func(in *fingerprint.Input) { in.Cause = task.CauseExpired },
		"code":    func(in *fingerprint.Input) { in.Code = 13 },
		"domain":  func(in *fingerprint.Input) { in.Domain = "" },
		"reason":  func(in *fingerprint.Input) { in.Reason = "AWAY2" },
		"message": func(in *fingerprint.Input) { in.Message += "!" },
		"custom":  func(in *fingerprint.Input) { in.Custom = "x" },
		"shifted": func(in *fingerprint.Input) { in.Domain, in.Reason = "acme.comA", "WAY" },
	} {
		other := failure
		change(&other)
		require.NotEqual(t, fingerprint.Of(failure).Sum, fingerprint.Of(other).Sum, name)
	}
	// What the handler gives counts alone, within its task type.
	a, b := failure, fingerprint.Input{Type: failure.Type, Custom: "mine"}
	a.Custom = "mine"
	require.Equal(t, fingerprint.Of(a).Sum, fingerprint.Of(b).Sum)
	b.Type = "other"
	require.NotEqual(t, fingerprint.Of(a).Sum, fingerprint.Of(b).Sum)
}
