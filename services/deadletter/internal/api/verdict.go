package api

import (
	"fmt"

	"github.com/google/uuid"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// verdictOf says of a dead letter in a bulk job what becomes of it, and for people why.
func verdictOf(item *store.BulkItem) (deadletterv1.Verdict, string) {
	switch item.Obstacle {
	case store.ObstacleGone:
		return deadletterv1.Verdict_VERDICT_NOT_FOUND, "there is no such dead letter, or not any more"
	case store.ObstacleInReplay:
		return deadletterv1.Verdict_VERDICT_IN_REPLAY, "its task runs again; wait for the outcome"
	case store.ObstacleChanged:
		return deadletterv1.Verdict_VERDICT_CHANGED, fmt.Sprintf("it has changed since it was selected, and is %s; look at it again", item.State)
	case store.ObstacleHeld:
		return deadletterv1.Verdict_VERDICT_HELD, "a hold keeps it, or all of its type, as it is"
	case store.ObstacleState, store.ObstacleDone:
		return deadletterv1.Verdict_VERDICT_WRONG_STATE, "it is " + item.State.String()
	}
	return deadletterv1.Verdict_VERDICT_READY, "it is " + item.State.String()
}

// distinct is how many different ids there are, however they are spelt.
func distinct(ids []string) int {
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		if u, err := uuid.Parse(id); err == nil {
			id = u.String()
		}
		known[id] = true
	}
	return len(known)
}
