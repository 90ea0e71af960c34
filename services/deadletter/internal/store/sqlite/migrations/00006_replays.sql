-- +goose Up

-- Sets of dead letters that are to run again, and how that goes.
CREATE TABLE replays (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    request_id   TEXT    UNIQUE,           -- NULL: none
    request_hash BLOB,
    state        INTEGER NOT NULL,
    paused_from  INTEGER NOT NULL,         -- the state before PAUSED; 0: it is not paused
    state_reason TEXT    NOT NULL,
    version      INTEGER NOT NULL,         -- grows with the operators' part: the etag
    digest       BLOB    NOT NULL,
    missing      TEXT,                     -- JSON
    plan         TEXT    NOT NULL,         -- JSON
    method       TEXT    NOT NULL,
    actor        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    call         TEXT    NOT NULL,         -- the W3C traceparent, or empty
    total        INTEGER NOT NULL,
    handled      INTEGER NOT NULL,         -- how many members, the first ones, were begun or skipped
    in_flight    INTEGER NOT NULL,
    succeeded    INTEGER NOT NULL,
    failed_again INTEGER NOT NULL,
    cancelled    INTEGER NOT NULL,
    skipped      INTEGER NOT NULL,
    unknown      INTEGER NOT NULL,         -- given up
    taken_back   INTEGER NOT NULL,         -- begun, never published, and pending again
    create_time  INTEGER NOT NULL,
    due_time     INTEGER NOT NULL,         -- when it begins
    start_time   INTEGER,
    update_time  INTEGER NOT NULL,
    end_time     INTEGER,
    CHECK (handled = in_flight + succeeded + failed_again + cancelled + skipped + unknown + taken_back),
    CHECK (handled <= total AND min(in_flight, succeeded, failed_again, cancelled, skipped, unknown, taken_back) >= 0)
) STRICT;

CREATE INDEX replays_active ON replays (sequence) WHERE end_time IS NULL;

-- What is large and stays, apart, so that it is not written again with each change.
CREATE TABLE replay_members (
    replay   INTEGER PRIMARY KEY REFERENCES replays (sequence),
    selector BLOB    NOT NULL,             -- the caller's encoding
    members  BLOB    NOT NULL              -- as of selections
) STRICT;

-- The members that were begun or skipped.
CREATE TABLE replay_items (
    replay      INTEGER NOT NULL REFERENCES replays (sequence),
    position    INTEGER NOT NULL,          -- among the members, from 0
    id          BLOB,                      -- the dead letter's; NULL: it was gone
    state       INTEGER NOT NULL,
    verdict     INTEGER NOT NULL,
    message     TEXT    NOT NULL,
    run         INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    begin_time  INTEGER,
    end_time    INTEGER,
    PRIMARY KEY (replay, position)
) WITHOUT ROWID, STRICT;

-- What an operator looks for: all but PENDING, IN_FLIGHT and SUCCEEDED.
CREATE INDEX replay_items_odd ON replay_items (replay, position) WHERE state >= 4;

-- What is in flight, the longest first. 2 is store.ItemInFlight.
CREATE INDEX replay_items_in_flight ON replay_items (replay, begin_time) WHERE state = 2;

-- The template of the message that came in first, NULL if that is the last one too: a
-- replay puts what its plan says into the ones that follow.
ALTER TABLE messages ADD COLUMN first_template BLOB;

-- The replay that an intent is of, NULL for none, and what of its plan the message needs.
ALTER TABLE intents ADD COLUMN replay INTEGER;
ALTER TABLE intents ADD COLUMN replay_position INTEGER;
ALTER TABLE intents ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 0; -- 0: as the task has it
ALTER TABLE intents ADD COLUMN expire_time INTEGER;                     -- NULL: never
ALTER TABLE intents ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;     -- of the payload
