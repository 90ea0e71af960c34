package discovery

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// learn asks a server.
func learn(t *testing.T, cfg targettest.Config, wanted ...string) (*Schema, error) {
	t.Helper()
	server := targettest.Start(t, cfg)
	conn, err := grpc.NewClient(server.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	return NewReflection(conn, wanted).Learn(ctx)
}

// encoded are a set's files by path.
func encoded(t *testing.T, set *descriptorpb.FileDescriptorSet) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, file := range set.File {
		raw, err := proto.Marshal(file)
		require.NoError(t, err)
		out[file.GetName()] = raw
	}
	return out
}

// paths are those of the schema's files.
func paths(t *testing.T, s *Schema) []string {
	t.Helper()
	var out []string
	for _, raw := range s.Files {
		var file descriptorpb.FileDescriptorProto
		require.NoError(t, proto.Unmarshal(raw, &file))
		out = append(out, file.GetName())
	}
	return out
}

func requireEcho(t *testing.T, s *Schema) {
	t.Helper()
	require.Equal(t, []string{targettest.FileDur, targettest.FileTypes, targettest.FileEcho}, paths(t, s))
	require.Equal(t, []Service{{Name: targettest.Service, Methods: []Method{
		{Name: targettest.Unary}, {Name: targettest.Stream, ServerStreams: true}, {Name: targettest.Chat, ClientStreams: true, ServerStreams: true},
	}}}, s.Services)
	require.Len(t, s.Digest(), digestShown)
}
