package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// The statements that run all the time must not scan a table, nor sort.
func TestStatementsUseIndices(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	open, err := store.Fields.Parse(`state = OPEN AND message:"timeout" AND labels.customer = "acme"`)
	require.NoError(t, err)
	filtered := selection(store.Query{Filter: open}).SQL()
	const list = `SELECT ` + deadLetterColumns + ` FROM dead_letters d WHERE `
	for _, query := range []string{
		selectLastChange, selectHead, selectDeadLetter, selectOccurrences, selectMessage, selectAudit,
		selectBody, selectRevisions, selectRevision, selectLastRevision, selectRevised, updateRevised,
		updateLatest, updateArrived, updateState, deleteLabels,
		selectIntents, selectIntent, updatePublishing, updatePublished, updateIntentsEnded,
		selectDue, selectNotification, updateSent, updateFailed, selectRule, selectMark, upsertCount, deleteOldCounts, sumCounts,
		deleteEnded, deleteOldMarks, deleteMarks, deleteCounts,
		selectReplay, selectReplayBySeq, selectRequest, selectReplayMember, selectSelector, updateReplay, updateItemEnded, updateItemTakenBack,
		updateTakenBack, updateBegun, updateEndedWell, selectUnsent, selectUnderWay, updateIntentSent, updateIntentNotSent, selectHolder,
		countOverdue, selectNextRun, selectCandidates + `?, ?) ORDER BY d.sequence`,
		selectItems + ` ORDER BY position LIMIT ?`, selectItems + ` AND state = ? AND state >= 4 ORDER BY position LIMIT ?`,
		selectReplays + `r.end_time IS NULL AND r.sequence < ? ORDER BY r.sequence DESC LIMIT ?`,
		selectGroupHead, updateGroupSeen, updateGroupState, countHour, selectGroup, updateGroup, selectHours, selectSamples, deleteHours,
		selectUngrouped, selectUngroupedRuns, selectGroupedRuns, updateRunGroup, updateDeadLetterGroup, inheritGroup,
		uncountDeath, uncountHour, deleteEmptyGroup,
		list + `d.sequence > ? ORDER BY d.sequence LIMIT ?`,
		list + `d.sequence < ? ORDER BY d.sequence DESC LIMIT ?`,
		list + `d.change > ? ORDER BY d.change LIMIT ?`,
		list + filtered + ` AND d.sequence < ? ORDER BY d.sequence DESC LIMIT ?`,
		`SELECT count(*) FROM dead_letters d WHERE ` + filtered,
	} {
		for _, step := range plan(t, s, query) {
			require.NotContains(t, step, "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
	for _, count := range []string{countOpen, openByCode} {
		require.Contains(t, strings.Join(plan(t, s, count), "\n"), "COVERING INDEX dead_letters_open", count)
	}
	require.NotContains(t, strings.Join(plan(t, s, openByCode), "\n"), "TEMP B-TREE")
	require.Contains(t, strings.Join(plan(t, s, selectChannels), "\n"), "COVERING INDEX notifications_due")
	require.Contains(t, strings.Join(plan(t, s, countGroups), "\n"), "COVERING INDEX groups_state")
	require.Contains(t, strings.Join(plan(t, s, selectVersions), "\n"), "SEARCH dead_letters USING COVERING INDEX dead_letters_group")
	grouped, err := store.Fields.Parse(`state = OPEN AND (labels.a = "b" AND group_id = "x")`)
	require.NoError(t, err)
	for _, order := range []string{"d.sequence", "d.sequence DESC"} {
		steps := plan(t, s, selectMember+lettersOf(grouped)+" WHERE "+selection(store.Query{Filter: grouped, State: store.StateOpen}).SQL()+" ORDER BY "+order)
		require.Contains(t, steps[0], "SEARCH d USING INDEX dead_letters_group (group_id=?)")
		require.NotContains(t, strings.Join(steps, "\n"), "TEMP B-TREE")
	}
	first, _ := groupsQuery(store.GroupQuery{}, 1)
	next, _ := groupsQuery(store.GroupQuery{After: &store.GroupPlace{}}, 1)
	for _, query := range []string{first, next} {
		steps := plan(t, s, query)
		require.Len(t, steps, 1, query)
		require.Contains(t, steps[0], "groups_last_seen", query)
	}
	for _, step := range plan(t, s, list+filtered+` ORDER BY d.sequence LIMIT ?`) {
		if strings.Contains(step, "SEARCH d") {
			require.Contains(t, step, "dead_letters_state")
		}
	}
}

// plan returns the steps of a query.
func plan(t *testing.T, s *Store, query string) []string {
	t.Helper()
	args := make([]any, strings.Count(query, "?"))
	rows, err := s.db.Writer.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	require.NoError(t, err, query)
	defer func() { require.NoError(t, rows.Close()) }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}

// A program of an earlier version, which knows no groups, may write to the file: what it
// stores is grouped later.
func TestRunsOfEarlierProgramsAreGrouped(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.Put(t.Context(), []store.Arrival{{
		ID: "0192f00d-0000-7000-8000-00000000000a", Type: "a.v1.A.B", Occurrence: store.Occurrence{Run: 1, Cause: 1},
		Fingerprint: store.Fingerprint{GroupID: "00000000000000000000000000000001", Version: 1},
	}})
	require.NoError(t, err)
	found, err := s.Ungrouped(t.Context(), 1, 10)
	require.NoError(t, err)
	require.Empty(t, found)
	_, err = s.db.Writer.ExecContext(t.Context(), `INSERT INTO occurrences (dead_letter, run, attempt, cause, reason, decision, dead_time,
	worker_id, trace_id, broker_reason, attempts_omitted) VALUES (1, 2, 0, 1, '', '', 0, '', '', '', 0)`)
	require.NoError(t, err)
	found, err = s.Ungrouped(t.Context(), 1, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Len(t, found[0].Runs, 2)
}
