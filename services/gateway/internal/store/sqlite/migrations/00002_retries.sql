-- +goose Up

-- Retries. What programs of version 1 write and read stays as it is.

ALTER TABLE tasks ADD COLUMN expire_time INTEGER;
ALTER TABLE tasks ADD COLUMN next_attempt_time INTEGER;

ALTER TABLE task_events ADD COLUMN alone INTEGER; -- NULL: no execution
ALTER TABLE task_events ADD COLUMN decision TEXT NOT NULL DEFAULT '';
ALTER TABLE task_events ADD COLUMN next_attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_events ADD COLUMN next_attempt_time INTEGER;

-- Which message holds a run of a task: a task.Claim.
CREATE TABLE claims (
    task_id    BLOB    NOT NULL,
    run        INTEGER NOT NULL,
    copy       BLOB    NOT NULL,
    delivery   INTEGER NOT NULL,
    request_id TEXT    NOT NULL,
    time       INTEGER NOT NULL, -- of the last change
    loose      INTEGER NOT NULL, -- 1 when the task was not known, so that its purge may never come
    PRIMARY KEY (task_id, run)
) WITHOUT ROWID, STRICT;

CREATE INDEX claims_loose ON claims (time) WHERE loose = 1;

-- What PurgeEnded may take, the oldest first of each task type: SUCCEEDED and
-- CANCELLED. Types whose tasks are kept for longer are not passed over one by one.
DROP INDEX tasks_ended;
CREATE INDEX tasks_ended ON tasks (type, end_time) WHERE state IN (5, 6);

-- What operators have set of the task types' options. Paths are a JSON array,
-- NULL for none.
CREATE TABLE overrides (
    task_type TEXT    NOT NULL PRIMARY KEY,
    version   INTEGER NOT NULL,
    options   BLOB    NOT NULL,
    paths     TEXT,
    reason    TEXT    NOT NULL,
    time      INTEGER
) WITHOUT ROWID, STRICT;

-- Each override that was ever in force, the present ones included.
CREATE TABLE override_history (
    task_type TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    options   BLOB    NOT NULL,
    paths     TEXT,
    reason    TEXT    NOT NULL,
    time      INTEGER,
    PRIMARY KEY (task_type, version)
) WITHOUT ROWID, STRICT;
