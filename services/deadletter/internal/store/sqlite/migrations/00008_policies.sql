-- +goose Up

-- How long dead letters stay, and what is left of them then.

-- The highest run that was known when it was purged, for which nothing comes in any more;
-- -1: it never was.
ALTER TABLE dead_letters ADD COLUMN purged_run INTEGER NOT NULL DEFAULT -1;

-- What the sweep of retentions and the residence of what waits are found by, type by type.
CREATE INDEX dead_letters_kept ON dead_letters (state, held, type, update_time);

-- What operators have set.
CREATE TABLE policies (
    task_type   TEXT    PRIMARY KEY, -- '*': all types
    settings    TEXT    NOT NULL,    -- JSON: values by the fields of store.Settings
    version     INTEGER NOT NULL,    -- grows with each change: the etag
    update_time INTEGER NOT NULL
) STRICT;
