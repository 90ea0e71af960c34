package store

import (
	"errors"
	"fmt"
	"time"
)

// What replays answer, besides what [Store] does.
var (
	// ErrNoReplay: there is no such replay.
	ErrNoReplay = errors.New("no such replay")
	// ErrReplayEnded: the replay begins nothing any more. The error is a
	// [ReplayEndedError].
	ErrReplayEnded = errors.New("the replay has ended")
	// ErrRequestID: the request id made another replay. The error is a
	// [RequestIDError].
	ErrRequestID = errors.New("the request id is taken")
	// ErrMoved: the replay is not where the caller believes it is. Look again.
	ErrMoved = errors.New("the replay has moved on")
	// ErrNotOverdue: the outcome may come by itself. The error is a [NotOverdueError].
	ErrNotOverdue = errors.New("the outcome is not overdue")
)

// ReplayEndedError is ErrReplayEnded with the state that the replay is in.
type ReplayEndedError struct{ State ReplayState }

// Error implements error.
func (e *ReplayEndedError) Error() string { return "the replay is " + e.State.String() }

// Is says that the error is ErrReplayEnded.
func (e *ReplayEndedError) Is(target error) bool { return target == ErrReplayEnded }

// RequestIDError is ErrRequestID with the replay that the request id made.
type RequestIDError struct{ ReplayID string }

// Error implements error.
func (e *RequestIDError) Error() string { return "the request id made replay " + e.ReplayID }

// Is says that the error is ErrRequestID.
func (e *RequestIDError) Is(target error) bool { return target == ErrRequestID }

// NotOverdueError is ErrNotOverdue with the time at which the outcome will be.
type NotOverdueError struct{ Time time.Time }

// Error implements error.
func (e *NotOverdueError) Error() string {
	return fmt.Sprintf("the outcome is overdue at %s", e.Time.Format(time.RFC3339))
}

// Is says that the error is ErrNotOverdue.
func (e *NotOverdueError) Is(target error) bool { return target == ErrNotOverdue }

// OverdueAfter is how long after its begin a run's outcome is overdue: twice what the
// longest attempt may take, which is 12 h and an hour in which its message waits within
// a worker. A task that waits for a worker, or for its next attempt, may take longer.
const OverdueAfter = 26 * time.Hour
