package sqlite_test

import (
	"testing"

	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/store/storetest"
)

func TestStoresOfOneFile(t *testing.T) {
	t.Parallel()
	storetest.RunShared(t, func(t *testing.T) (a, b store.Store) {
		path := sqlite.EmptyFile(t)
		return sqlite.OpenHasty(t, path), sqlite.OpenHasty(t, path)
	})
}
