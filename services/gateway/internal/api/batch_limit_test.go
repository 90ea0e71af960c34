package api

import (
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

func TestTheLimitOfBatchesIsTheProtos(t *testing.T) {
	t.Parallel()
	options := (&taskv1.BatchSubmitTasksRequest{}).ProtoReflect().Descriptor().Fields().ByName("requests").Options()
	rules := proto.GetExtension(options, validate.E_Field).(*validate.FieldRules)
	require.EqualValues(t, MaxBatchTasks, rules.GetRepeated().GetMaxItems())
}
