package target

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func incoming(ctx context.Context) metadata.MD {
	md, _ := metadata.FromIncomingContext(ctx)
	return md
}

func splitPort(address string) (host, port string, err error) { return net.SplitHostPort(address) }

func write(t *testing.T, file, content string) {
	t.Helper()
	next := file + ".next"
	require.NoError(t, os.WriteFile(next, []byte(content), 0o600))
	require.NoError(t, os.Rename(next, file))
}

// last keeps the metadata of the latest call of each method.
func last(got chan metadata.MD) grpc.ServerOption {
	return grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		md := incoming(ss.Context())
		md.Set("method", info.FullMethod)
		select {
		case got <- md:
		default:
		}
		return handler(srv, ss)
	})
}

func TestMetadataGoesOutWithEveryCall(t *testing.T) {
	t.Parallel()
	got := make(chan metadata.MD, 100)
	server := serving(t, targettest.Config{Options: []grpc.ServerOption{last(got)}}, "one")
	file := filepath.Join(t.TempDir(), "metadata")
	write(t, file, "# who we are\n\nAuthorization: Bearer one:two\r\nx-raw-bin: "+base64.StdEncoding.EncodeToString([]byte{0, 255})+"\n")
	m, err := ReadMetadata(file, quiet())
	require.NoError(t, err)
	target := watched(t, Config{Names: []string{server.Addr}, Metadata: m})
	awaitReady(t, target)
	watch := <-got
	require.Equal(t, []string{"/grpc.health.v1.Health/Watch"}, watch["method"])
	require.Equal(t, []string{"Bearer one:two"}, watch["authorization"], "the question for its health too")
	_, _, err = call(t, target)
	require.NoError(t, err)
	md := <-got
	require.Equal(t, []string{"Bearer one:two"}, md["authorization"])
	require.Equal(t, []string{"\x00\xff"}, md["x-raw-bin"])
	require.True(t, target.Sets("authorization"))
	require.False(t, target.Sets("x-other"))

	write(t, file, "authorization: Bearer next\n")
	brokertest.Eventually(t, patience, func() bool {
		_, _, err := call(t, target)
		require.NoError(t, err)
		md := <-got
		return md["authorization"][0] == "Bearer next" && md["x-raw-bin"] == nil
	})
}

func TestWhatTheMetadataFileHadStaysWhileItIsWrong(t *testing.T) {
	t.Parallel()
	file, log := filepath.Join(t.TempDir(), "metadata"), &bytes.Buffer{}
	write(t, file, "key: value\n")
	m, err := ReadMetadata(file, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	for _, content := range []string{"key: value\nhunter2", "key value"} {
		write(t, file, content)
		m.looked = time.Time{}
		require.Equal(t, map[string]string{"key": "value"}, m.current())
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("can't be read again")))
	require.NotContains(t, log.String(), "hunter2", "it may be a secret")
	require.NoError(t, os.Remove(file))
	m.looked = time.Time{}
	require.True(t, m.has("key"))
}

func TestReadMetadataRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ content, want string }{
		"no key":           {"key: value\n: value", "line 2"},
		"no colon":         {"hunter2", "line 1"},
		"a key twice":      {"a: 1\nA: 2", "a is there twice"},
		"a character":      {"a b: 1", "letters"},
		"no base64":        {"a-bin: ~", "base64"},
		"no ASCII":         {"a: é", "-bin"},
		"a transport's":    {"content-type: text/plain", "content-type can't be set"},
		"one of gRPC":      {"grpc-timeout: 1S", "can't be set"},
		"one of Warren":    {"warren-task-id: 1", "can't be set"},
		"a pseudo header":  {":authority: me", "key: value"},
		"a control letter": {"a: b\x01c", "printable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "metadata")
			write(t, file, c.content)
			_, err := ReadMetadata(file, quiet())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "--metadata-file")
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := ReadMetadata(filepath.Join(t.TempDir(), "nowhere"), quiet())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMetadataIsSentAsItIsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.MapOf(rapid.StringMatching(`x-[a-z0-9_.-]{0,10}z`), rapid.StringMatching(`([!-~]([ -~]{0,20}[!-~])?)?`)).Draw(r, "entries")
		content := ""
		for key, value := range want {
			content += key + ":" + rapid.SampledFrom([]string{"", " ", "\t"}).Draw(r, "gap") + value + rapid.SampledFrom([]string{"\n", " \n", "\r\n"}).Draw(r, "end")
		}
		got, err := parseMetadata(content)
		require.NoError(r, err)
		require.Equal(r, want, got)
	})
}
