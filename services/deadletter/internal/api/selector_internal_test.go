package api

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestSelectorOfAGroup(t *testing.T) {
	t.Parallel()
	kept, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close()) })
	const known, unknown = "00000000000000000000000000000001", "00000000000000000000000000000002"
	_, err = kept.Put(t.Context(), []store.Arrival{{
		ID: task.NewID(), Type: "a.v1.A.B", Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired},
		Fingerprint: store.Fingerprint{GroupID: known, Version: 1},
	}})
	require.NoError(t, err)
	s := NewService(Config{Store: kept})
	by := func(id string) *deadletterv1.DeadLetterSelector {
		return &deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_GroupId{GroupId: id}}
	}
	selected, err := s.selected(t.Context(), by(known), store.StateOpen)
	require.NoError(t, err)
	require.Len(t, selected.Members, 1)
	_, err = s.frozen(t.Context(), by(unknown))
	require.Equal(t, codes.NotFound, status.Code(err))
	require.ErrorContains(t, err, "no such failure group")
}
