-- +goose Up

-- Conventions. Ids are the 16 bytes of the UUID. Times are microseconds since
-- 1970, NULL for unknown. States, outcomes and causes are the numbers of the
-- packages store and task. Failures, attempts and maps are JSON, NULL for none.

-- One row for each dead letter: all that is shown of it in lists.
CREATE TABLE dead_letters (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of first arrival
    id               BLOB    NOT NULL UNIQUE,
    is_foreign       INTEGER NOT NULL, -- 1: a message that is no task
    task_id          TEXT    NOT NULL, -- empty for a message that is no task
    state            INTEGER NOT NULL,
    version          INTEGER NOT NULL, -- grows with each change: the etag
    change           INTEGER NOT NULL, -- the place of the last change
    reopen_run       INTEGER NOT NULL, -- the least run whose death makes it OPEN
    type             TEXT    NOT NULL,
    cause            INTEGER NOT NULL,
    code             INTEGER,          -- NULL: no failure
    message          TEXT    NOT NULL,
    stack            TEXT    NOT NULL,
    kind             INTEGER NOT NULL,
    reason           TEXT    NOT NULL,
    decision         TEXT    NOT NULL,
    run              INTEGER NOT NULL, -- the highest that died
    attempt          INTEGER NOT NULL,
    worker_id        TEXT    NOT NULL,
    trace_id         TEXT    NOT NULL,
    labels           TEXT,
    priority         INTEGER NOT NULL,
    create_time      INTEGER,
    run_time         INTEGER,
    dead_time        INTEGER NOT NULL,
    first_dead_time  INTEGER NOT NULL,
    update_time      INTEGER NOT NULL,
    occurrence_count INTEGER NOT NULL,
    payload_size     INTEGER NOT NULL,
    queue            TEXT    NOT NULL,
    operator_reason  TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX dead_letters_change ON dead_letters (change);

CREATE INDEX dead_letters_state ON dead_letters (state, sequence);

-- The labels of each dead letter once more, for filters.
CREATE TABLE labels (
    dead_letter INTEGER NOT NULL REFERENCES dead_letters (sequence),
    key         TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    PRIMARY KEY (dead_letter, key)
) WITHOUT ROWID, STRICT;

-- Each run that died.
CREATE TABLE occurrences (
    dead_letter      INTEGER NOT NULL REFERENCES dead_letters (sequence),
    run              INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    cause            INTEGER NOT NULL,
    failure          TEXT,
    reason           TEXT    NOT NULL,
    decision         TEXT    NOT NULL,
    dead_time        INTEGER NOT NULL,
    worker_id        TEXT    NOT NULL,
    trace_id         TEXT    NOT NULL,
    broker_reason    TEXT    NOT NULL,
    attempts         TEXT,
    attempts_omitted INTEGER NOT NULL,
    PRIMARY KEY (dead_letter, run)
) STRICT;

-- The message of the highest run.
CREATE TABLE messages (
    dead_letter  INTEGER PRIMARY KEY REFERENCES dead_letters (sequence),
    body         BLOB,    -- NULL: empty
    properties   TEXT,
    headers      TEXT,
    queue        TEXT NOT NULL,
    exchange     TEXT NOT NULL,
    routing_keys TEXT,
    template     BLOB     -- NULL: empty
) STRICT;

-- Replays that were begun.
CREATE TABLE intents (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB    NOT NULL UNIQUE,
    dead_letter INTEGER NOT NULL REFERENCES dead_letters (sequence),
    run         INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    publishes   INTEGER NOT NULL,
    outcome     INTEGER NOT NULL, -- 0: unknown
    unroutable  INTEGER NOT NULL,
    UNIQUE (dead_letter, run)
) STRICT;

CREATE INDEX intents_state ON intents (state, sequence);

CREATE TABLE audit (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    dead_letter INTEGER NOT NULL REFERENCES dead_letters (sequence),
    time        INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    from_state  INTEGER NOT NULL, -- 0: none
    to_state    INTEGER NOT NULL,
    run         INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    actor       TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_dead_letter ON audit (dead_letter, sequence);

-- What is to be sent about dead letters, and what was.
CREATE TABLE notifications (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB    NOT NULL UNIQUE,
    dead_letter INTEGER NOT NULL REFERENCES dead_letters (sequence),
    run         INTEGER NOT NULL,
    state       INTEGER NOT NULL, -- 1: to be sent, 2: sent, 3: given up
    time        INTEGER NOT NULL,
    attempts    INTEGER NOT NULL, -- that failed
    next_time   INTEGER NOT NULL,
    last_error  TEXT    NOT NULL,
    UNIQUE (dead_letter, run)
) STRICT;

CREATE INDEX notifications_due ON notifications (next_time, sequence) WHERE state = 1;

-- What waits to be judged, opaque to the store.
CREATE TABLE held (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key      TEXT NOT NULL UNIQUE,
    data     BLOB NOT NULL
) STRICT;

-- One row: the place of the last change.
CREATE TABLE changes (
    id   INTEGER PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT;

INSERT INTO changes (id, last) VALUES (1, 0);

-- One row, written to see whether the store can be written.
CREATE TABLE checks (
    id   INTEGER NOT NULL PRIMARY KEY,
    time INTEGER NOT NULL
) STRICT;
