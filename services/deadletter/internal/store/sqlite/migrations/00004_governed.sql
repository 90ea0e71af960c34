-- +goose Up

-- What operators work with: groups, replays, revisions, holds; who has done what; and sets
-- that were frozen.

ALTER TABLE dead_letters ADD COLUMN group_id TEXT NOT NULL DEFAULT '';         -- empty: not known yet
ALTER TABLE dead_letters ADD COLUMN worker_version TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN replay_count INTEGER NOT NULL DEFAULT 0;   -- since it came in, or was restored
ALTER TABLE dead_letters ADD COLUMN replay_id TEXT NOT NULL DEFAULT '';        -- the replay that holds it
ALTER TABLE dead_letters ADD COLUMN held INTEGER NOT NULL DEFAULT 0;           -- 1: an operator keeps it as it is
ALTER TABLE dead_letters ADD COLUMN payload_revision INTEGER NOT NULL DEFAULT 1;

-- Calls that have changed something.
CREATE TABLE audit_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    method   TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    peer     TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    trace_id TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    changes  TEXT             -- JSON
) STRICT;

CREATE INDEX audit_events_resource ON audit_events (resource, sequence);

-- Sets of dead letters that were frozen.
CREATE TABLE selections (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    token       BLOB    NOT NULL UNIQUE,
    expire_time INTEGER NOT NULL,
    members     BLOB    NOT NULL, -- pairs of varints: sequence less that of the one before, version
    digest      BLOB    NOT NULL,
    summary     TEXT    NOT NULL  -- JSON: what is missing, counts
) STRICT;
