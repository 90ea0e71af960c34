-- +goose Up

-- Lists and watches of all tasks. What programs of earlier versions write and
-- read stays as it is; what they write is not in the feed.

-- Lists that are about a few of many tasks. The others cost nothing here.
CREATE INDEX tasks_dead ON tasks (state) WHERE state = 7; -- DEAD_LETTERED
CREATE INDEX tasks_trace ON tasks (trace_id) WHERE trace_id <> '';

-- Which events were stored, in that order: a row for each transaction, or for a
-- part of a large one. The last row is never deleted, so that positions go on
-- from it and none is used twice.
CREATE TABLE feed (
    position INTEGER NOT NULL PRIMARY KEY,
    time     INTEGER NOT NULL, -- when it was written
    entries  BLOB    NOT NULL  -- for each event the task's id and the number, as a varint
) STRICT;

-- One row: what tells this store from others.
CREATE TABLE identity (
    id BLOB NOT NULL PRIMARY KEY
) WITHOUT ROWID, STRICT;

INSERT INTO identity (id) VALUES (randomblob(8));
