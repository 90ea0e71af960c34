-- +goose Up

-- What is cancelled, what operators have set, workers and idempotency keys. What
-- programs of earlier versions write and read stays as it is; what they apply
-- marks no cancellation as seen.

-- Cancellations of runs, until they are forgotten. Positions are never used twice,
-- and ascend in the order of commits.
CREATE TABLE cancellations (
    position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    task_id  BLOB    NOT NULL,
    run      INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    time     INTEGER,
    seen     INTEGER, -- when the message was, NULL for not yet
    UNIQUE (task_id, run)
) STRICT;

CREATE INDEX cancellations_seen ON cancellations (seen) WHERE seen IS NOT NULL;

CREATE INDEX cancellations_unseen ON cancellations (task_id, run) WHERE seen IS NULL;

-- What operators have set of task types' consumption.
CREATE TABLE controls (
    task_type TEXT    NOT NULL,
    worker_id TEXT    NOT NULL, -- empty for all workers
    version   INTEGER NOT NULL,
    encoded   BLOB    NOT NULL,
    reason    TEXT    NOT NULL,
    time      INTEGER,
    PRIMARY KEY (task_type, worker_id)
) WITHOUT ROWID, STRICT;

CREATE INDEX controls_worker ON controls (worker_id) WHERE worker_id <> '';

CREATE TABLE workers (
    id        TEXT NOT NULL PRIMARY KEY,
    heartbeat BLOB NOT NULL,
    seen      INTEGER,
    gone      INTEGER -- NULL for not
) WITHOUT ROWID, STRICT;

-- Tasks that wait for a retry, by their types.
CREATE INDEX tasks_retrying ON tasks (type, next_attempt_time) WHERE state = 4;

-- Idempotency keys.
CREATE TABLE idempotency_keys (
    type       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    task_id    BLOB    NOT NULL,
    submitted  INTEGER NOT NULL, -- 1: the task is, whoever asks
    owner      TEXT    NOT NULL, -- of the last claim; empty when it was given back
    lease_end  INTEGER NOT NULL,
    again      INTEGER NOT NULL, -- 1: an owner before that may have submitted the task
    window_end INTEGER NOT NULL,
    PRIMARY KEY (type, key)
) WITHOUT ROWID, STRICT;

CREATE INDEX idempotency_keys_window ON idempotency_keys (window_end);
