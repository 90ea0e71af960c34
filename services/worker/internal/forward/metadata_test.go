package forward

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/services/worker/internal/target"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func dialTo(t *testing.T, server *targettest.Server) *target.Target {
	t.Helper()
	return dial(t, target.Config{Names: []string{server.Addr}})
}

// telling answers with headers and trailers, and keeps what came.
func telling(got chan<- metadata.MD, fail error) grpc.StreamHandler {
	return withoutHealth(func(srv any, ss grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(ss.Context())
		got <- md
		if err := ss.SetHeader(metadata.Pairs("x-header", "1", "x-header", "2", "x-raw-bin", "\x00\xff", "warren-x", "no")); err != nil {
			return err
		}
		ss.SetTrailer(metadata.Pairs("x-trailer", "end", "x-raw-bin", "\x01", "set-cookie", "no"))
		if fail != nil {
			return fail
		}
		return echo(srv, ss)
	})
}

func TestMetadataPassesBothWays(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{"a result": nil, "a failure": status.Error(codes.NotFound, "no")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan metadata.MD, 1)
			f, _ := newFront(t, targettest.Config{Handle: telling(got, fail), NoHealth: true})
			caller := metadata.Pairs("x-request-id", "7", "x-many", "1", "x-many", "2", "x-raw-bin", "\x00\xfe",
				"authorization", "mine", "warren-attempt", "99", "traceparent", "mine")
			ctx := metadata.NewOutgoingContext(t.Context(), caller)
			check := func(header, trailer metadata.MD) {
				md := <-got
				require.Equal(t, []string{"7"}, md["x-request-id"])
				require.Equal(t, []string{"1", "2"}, md["x-many"])
				require.Equal(t, []string{"\x00\xfe"}, md["x-raw-bin"])
				require.Equal(t, []string{"task-1"}, md["warren-task-id"])
				require.Equal(t, []string{"2"}, md["warren-run"])
				require.Equal(t, []string{"3"}, md["warren-attempt"])
				require.Empty(t, md["authorization"])
				require.Len(t, md["traceparent"], 1)
				require.Contains(t, md["traceparent"][0], theTrace.TraceID().String())
				require.Equal(t, []string{"application/grpc+proto"}, md["content-type"])

				require.Equal(t, []string{"1", "2"}, header["x-header"])
				require.Equal(t, []string{"\x00\xff"}, header["x-raw-bin"])
				require.Empty(t, header["warren-x"])
				require.Equal(t, []string{"end"}, trailer["x-trailer"])
				require.Equal(t, []string{"\x01"}, trailer["x-raw-bin"])
				require.Empty(t, trailer["set-cookie"])
			}
			var header, trailer metadata.MD
			err := f.Invoke(ctx, unary, message(), message(), grpc.Header(&header), grpc.Trailer(&trailer))
			require.Equal(t, status.Code(fail), status.Code(err))
			require.Equal(t, status.Code(fail), status.Code(f.returned(t)))
			check(header, trailer)

			_, cs, err := f.follow(ctx, nil)
			require.Equal(t, status.Code(fail), status.Code(err))
			header, err = cs.Header()
			require.NoError(t, err)
			check(header, cs.Trailer())
		})
	}
}

func TestTheTargetsOwnMetadataStandsForTheCallers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "metadata")
	require.NoError(t, os.WriteFile(file, []byte("authorization: Bearer ours\nx-request-id: ours\n"), 0o600))
	own, err := target.ReadMetadata(file, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	got := make(chan metadata.MD, 1)
	server := targettest.Start(t, targettest.Config{Handle: telling(got, nil), NoHealth: true})
	f := frontOf(t, dial(t, target.Config{Names: []string{server.Addr}, Metadata: own}), nil)
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-request-id", "theirs", "x-other", "theirs"))
	require.NoError(t, f.Invoke(ctx, unary, message(), message()))
	md := <-got
	require.Equal(t, []string{"Bearer ours"}, md["authorization"])
	require.Equal(t, []string{"ours"}, md["x-request-id"])
	require.Equal(t, []string{"theirs"}, md["x-other"])
}
