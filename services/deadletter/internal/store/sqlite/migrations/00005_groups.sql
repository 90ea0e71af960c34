-- +goose Up

-- What died of the same thing.

-- One row for each failure group; texts are cut.
CREATE TABLE groups (
    sequence            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                  TEXT    NOT NULL UNIQUE,
    state               INTEGER NOT NULL,
    version             INTEGER NOT NULL, -- grows with the state and the operators' part: the etag
    type                TEXT    NOT NULL,
    cause               INTEGER NOT NULL,
    code                INTEGER NOT NULL, -- 0: none
    domain              TEXT    NOT NULL,
    reason              TEXT    NOT NULL,
    message             TEXT    NOT NULL,
    custom              TEXT    NOT NULL,
    fingerprint_version INTEGER NOT NULL,
    count               INTEGER NOT NULL, -- of runs that died of it
    dead_letters        INTEGER NOT NULL, -- as they are now; triggers keep both
    open                INTEGER NOT NULL,
    first_seen          INTEGER NOT NULL,
    last_seen           INTEGER NOT NULL,
    state_time          INTEGER NOT NULL,
    note                TEXT    NOT NULL,
    mute_until          INTEGER           -- NULL: not muted
) STRICT;

CREATE INDEX groups_last_seen ON groups (last_seen, sequence);
CREATE INDEX groups_state ON groups (state);

-- Runs that died of it, by the hour since 1970.
CREATE TABLE group_hours (
    failure_group INTEGER NOT NULL REFERENCES groups (sequence) ON DELETE CASCADE,
    hour          INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    PRIMARY KEY (failure_group, hour)
) WITHOUT ROWID, STRICT;

CREATE INDEX group_hours_hour ON group_hours (hour);

ALTER TABLE occurrences ADD COLUMN group_id TEXT NOT NULL DEFAULT '';                  -- empty: not known yet
ALTER TABLE dead_letters ADD COLUMN fingerprint_version INTEGER NOT NULL DEFAULT 0; -- the least of its runs; 0: not known yet

-- Pages of a group, and what versions of workers it has.
CREATE INDEX dead_letters_group ON dead_letters (group_id, sequence, state, worker_version);
CREATE INDEX dead_letters_fingerprint ON dead_letters (fingerprint_version, sequence);

-- Whoever stores a run without its group has the dead letter looked at again, programs of
-- earlier versions included.
-- +goose StatementBegin
CREATE TRIGGER occurrences_ungrouped AFTER INSERT ON occurrences WHEN NEW.group_id = '' BEGIN
    UPDATE dead_letters SET fingerprint_version = 0 WHERE sequence = NEW.dead_letter AND fingerprint_version <> 0;
END;
-- +goose StatementEnd

-- How many dead letters a group has, and how many OPEN ones, whoever changes them. 1 is
-- store.StateOpen.
-- +goose StatementBegin
CREATE TRIGGER dead_letters_group_insert AFTER INSERT ON dead_letters WHEN NEW.group_id <> '' BEGIN
    UPDATE groups SET dead_letters = dead_letters + 1, open = open + (NEW.state = 1) WHERE id = NEW.group_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letters_group_delete AFTER DELETE ON dead_letters WHEN OLD.group_id <> '' BEGIN
    UPDATE groups SET dead_letters = dead_letters - 1, open = open - (OLD.state = 1) WHERE id = OLD.group_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letters_group_state AFTER UPDATE OF state, group_id ON dead_letters
WHEN OLD.group_id = NEW.group_id AND (OLD.state = 1) <> (NEW.state = 1) BEGIN
    UPDATE groups SET open = open + (NEW.state = 1) - (OLD.state = 1) WHERE id = NEW.group_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letters_group_change AFTER UPDATE OF group_id ON dead_letters WHEN OLD.group_id <> NEW.group_id BEGIN
    UPDATE groups SET dead_letters = dead_letters - 1, open = open - (OLD.state = 1) WHERE id = OLD.group_id;
    UPDATE groups SET dead_letters = dead_letters + 1, open = open + (NEW.state = 1) WHERE id = NEW.group_id;
END;
-- +goose StatementEnd
