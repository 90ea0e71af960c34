-- +goose Up

-- Tasks for later, and schedules. What programs of earlier versions write and
-- read stays as it is.

-- What few tasks have, NULL for none: no part of what each event writes.
ALTER TABLE tasks ADD COLUMN schedule_time INTEGER;
ALTER TABLE tasks ADD COLUMN schedule_id TEXT;
ALTER TABLE tasks ADD COLUMN update_sequence INTEGER;
ALTER TABLE tasks ADD COLUMN cancel_reason TEXT;

-- Likewise. A head is JSON, of UPDATED events alone.
ALTER TABLE task_events ADD COLUMN schedule_time INTEGER;
ALTER TABLE task_events ADD COLUMN reason TEXT;
ALTER TABLE task_events ADD COLUMN head TEXT;

-- Lists that are about a few of many tasks.
CREATE INDEX tasks_scheduled ON tasks (state) WHERE state = 1; -- SCHEDULED
CREATE INDEX tasks_schedule ON tasks (schedule_id) WHERE schedule_id IS NOT NULL;

-- The messages of tasks that wait for their time, until they are in their queues.
CREATE TABLE scheduled (
    task_id BLOB    NOT NULL PRIMARY KEY,
    type    TEXT    NOT NULL,
    due     INTEGER NOT NULL,
    message BLOB    NOT NULL
) WITHOUT ROWID, STRICT;

-- Types apart: of one whose queue takes nothing, as many may be due as there are.
CREATE INDEX scheduled_due ON scheduled (type, due, task_id);

-- Those of them that were handed out, and until when nobody else gets them: apart,
-- so that handing one out writes no message. A row stays when its time has passed.
CREATE TABLE scheduled_leases (
    task_id BLOB    NOT NULL PRIMARY KEY REFERENCES scheduled (task_id) ON DELETE CASCADE,
    until   INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX scheduled_leases_until ON scheduled_leases (until);

-- How many rows of scheduled each type has.
CREATE TABLE scheduled_counts (
    type  TEXT    NOT NULL PRIMARY KEY,
    tasks INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- +goose StatementBegin
CREATE TRIGGER scheduled_more AFTER INSERT ON scheduled BEGIN
    INSERT INTO scheduled_counts (type, tasks) VALUES (NEW.type, 1)
    ON CONFLICT (type) DO UPDATE SET tasks = tasks + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER scheduled_fewer AFTER DELETE ON scheduled BEGIN
    UPDATE scheduled_counts SET tasks = tasks - 1 WHERE type = OLD.type;
END;
-- +goose StatementEnd

CREATE TABLE schedules (
    id      TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    spec    BLOB    NOT NULL,
    next    INTEGER -- NULL for never
) WITHOUT ROWID, STRICT;

CREATE INDEX schedules_next ON schedules (next) WHERE next IS NOT NULL;

-- The last firings of each schedule.
CREATE TABLE schedule_firings (
    schedule_id TEXT    NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL, -- from 1, in the order in which they were recorded
    time        INTEGER,
    encoded     BLOB    NOT NULL,
    PRIMARY KEY (schedule_id, number)
) WITHOUT ROWID, STRICT;
