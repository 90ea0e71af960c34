-- +goose Up

-- Conventions. Ids are the 16 bytes of the UUID. Times are microseconds since
-- 1970, NULL for unknown. Keys of events are packed so that they sort as
-- task.Key.Compare does: run and attempt (4 bytes each, big endian), delivery
-- (8), phase (1), sequence (8), copy (16). States, phases and causes are the
-- numbers of pkg/task. Failures and labels are JSON, NULL for none.

-- The join of each task's events: a task.Task.
CREATE TABLE tasks (
    id               BLOB    NOT NULL PRIMARY KEY,
    type             TEXT    NOT NULL,
    state            INTEGER NOT NULL,
    run              INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    priority         INTEGER NOT NULL,
    labels           TEXT,
    trace_id         TEXT    NOT NULL,
    create_time      INTEGER,
    start_time       INTEGER,
    end_time         INTEGER,
    update_time      INTEGER,
    version          INTEGER NOT NULL,
    decided_run      INTEGER NOT NULL, -- the run of decided_key
    decided_key      BLOB    NOT NULL,
    started_key      BLOB    NOT NULL,
    payload_number   INTEGER NOT NULL,
    payload_run      INTEGER NOT NULL,
    payload_size     INTEGER NOT NULL,
    payload_sha256   BLOB,
    payload_omitted  INTEGER NOT NULL,
    result_number    INTEGER NOT NULL,
    result_size      INTEGER NOT NULL,
    failure          TEXT,
    cause            INTEGER NOT NULL,
    progress_key     BLOB,             -- NULL for no progress
    progress_fraction REAL,
    progress_message TEXT,
    progress_time    INTEGER,
    purged_run       INTEGER NOT NULL, -- that of the tombstone it came back from
    purged_version   INTEGER NOT NULL  -- likewise; events up to it are not of the task any more
) WITHOUT ROWID, STRICT;

-- What PurgeEnded may take, oldest first: SUCCEEDED and CANCELLED.
CREATE INDEX tasks_ended ON tasks (end_time) WHERE state IN (5, 6);

-- The numbered history of each task.
CREATE TABLE task_events (
    task_id         BLOB    NOT NULL,
    number          INTEGER NOT NULL,
    key             BLOB    NOT NULL,
    phase           INTEGER NOT NULL, -- that of key
    time            INTEGER,
    state           INTEGER NOT NULL, -- the task's after it
    correction      INTEGER NOT NULL,
    worker_id       TEXT    NOT NULL,
    host            TEXT,             -- NULL: no execution
    version         TEXT,
    redelivered     INTEGER,
    payload_size    INTEGER,          -- NULL: no payload
    payload_sha256  BLOB,
    payload_omitted INTEGER,
    failure         TEXT,
    cause           INTEGER NOT NULL,
    body_size       INTEGER,          -- NULL: no body
    PRIMARY KEY (task_id, number)
) WITHOUT ROWID, STRICT;

-- An event is known by its key: this is what makes a second one a no-op.
CREATE UNIQUE INDEX task_events_key ON task_events (task_id, key);

-- Payloads, messages and results, apart from the events so that a history is
-- read without passing over them. An empty body has no row.
CREATE TABLE task_bodies (
    task_id BLOB    NOT NULL,
    number  INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    PRIMARY KEY (task_id, number)
) WITHOUT ROWID, STRICT;

-- What is left of a purged task.
CREATE TABLE tombstones (
    task_id    BLOB    NOT NULL PRIMARY KEY,
    run        INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    purge_time INTEGER NOT NULL,
    unfinished INTEGER NOT NULL -- 1 while events up to version may be left
) WITHOUT ROWID, STRICT;

CREATE INDEX tombstones_purged ON tombstones (purge_time) WHERE unfinished = 0;

CREATE INDEX tombstones_unfinished ON tombstones (unfinished) WHERE unfinished = 1;

-- The catalogue.
CREATE TABLE bundles (
    digest TEXT    NOT NULL PRIMARY KEY,
    time   INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- What each bundle was announced with.
CREATE TABLE bundle_services (
    digest  TEXT NOT NULL REFERENCES bundles (digest) ON DELETE CASCADE,
    service TEXT NOT NULL,
    PRIMARY KEY (digest, service)
) WITHOUT ROWID, STRICT;

-- The newest bundle that defines a service or a task type.
CREATE TABLE definitions (
    name   TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL REFERENCES bundles (digest)
) WITHOUT ROWID, STRICT;

CREATE INDEX definitions_digest ON definitions (digest);

CREATE TABLE files (
    sha256  BLOB NOT NULL PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE bundle_files (
    digest   TEXT    NOT NULL REFERENCES bundles (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    sha256   BLOB    NOT NULL REFERENCES files (sha256),
    PRIMARY KEY (digest, position)
) WITHOUT ROWID, STRICT;

CREATE INDEX bundle_files_sha256 ON bundle_files (sha256);

-- One row, written to see whether the store can be written.
CREATE TABLE checks (
    id   INTEGER NOT NULL PRIMARY KEY,
    time INTEGER NOT NULL
) STRICT;
