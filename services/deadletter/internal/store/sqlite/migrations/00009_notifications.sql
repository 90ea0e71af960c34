-- +goose Up

-- Who is told of what: rules besides the one of the command line, and notifications of
-- more than dead letters, by more than one channel. What programs of earlier versions
-- insert gets the defaults.

CREATE TABLE notification_rules (
    id          TEXT    PRIMARY KEY,
    version     INTEGER NOT NULL, -- of rule_versions: the etag
    trigger     INTEGER NOT NULL,
    disabled    INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    terms       TEXT    NOT NULL  -- JSON: the rest
) STRICT;

-- One row, which grows with each change of a rule.
CREATE TABLE rule_versions (
    id   INTEGER PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT;

INSERT INTO rule_versions (id, last) VALUES (1, 0);

-- What rules have told of last.
CREATE TABLE notification_marks (
    rule      TEXT    NOT NULL,
    subject   TEXT    NOT NULL, -- a failure group; empty for a condition
    time      INTEGER NOT NULL, -- when; 0: never
    held_back INTEGER NOT NULL, -- since then
    holds     INTEGER NOT NULL, -- 1: a condition that holds, 2: it is not told yet
    PRIMARY KEY (rule, subject)
) WITHOUT ROWID, STRICT;

CREATE INDEX notification_marks_time ON notification_marks (time) WHERE holds = 0;

-- Arrivals by rule, and by the sixtieth of the rule's window that they fell into.
CREATE TABLE notification_counts (
    rule  TEXT    NOT NULL,
    slot  INTEGER NOT NULL, -- when it began
    count INTEGER NOT NULL,
    PRIMARY KEY (rule, slot)
) WITHOUT ROWID, STRICT;

-- How sending goes.
CREATE TABLE notification_channels (
    channel      TEXT PRIMARY KEY,
    last_success INTEGER,
    last_failure INTEGER,
    last_error   TEXT NOT NULL
) STRICT;

CREATE TABLE notifications_new (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB    NOT NULL UNIQUE,
    dead_letter INTEGER REFERENCES dead_letters (sequence), -- NULL: about none
    run         INTEGER NOT NULL,
    state       INTEGER NOT NULL, -- 1: to be sent, 2: sent, 3: given up
    time        INTEGER NOT NULL,
    attempts    INTEGER NOT NULL, -- that failed
    next_time   INTEGER NOT NULL,
    last_error  TEXT    NOT NULL,
    rule        TEXT    NOT NULL DEFAULT 'webhook',
    channel     TEXT    NOT NULL DEFAULT 'webhook',
    trigger     INTEGER NOT NULL DEFAULT 1,
    type        TEXT    NOT NULL DEFAULT '', -- the dead letter's if empty
    cause       INTEGER NOT NULL DEFAULT 0,
    code        INTEGER NOT NULL DEFAULT 0,
    group_id    TEXT    NOT NULL DEFAULT '',
    held_back   INTEGER NOT NULL DEFAULT 0,
    measured    TEXT,                        -- JSON: what a condition has found
    UNIQUE (dead_letter, run, rule, channel)
) STRICT;

INSERT INTO notifications_new (sequence, id, dead_letter, run, state, time, attempts, next_time, last_error, type, cause, code, group_id)
SELECT n.sequence, n.id, n.dead_letter, n.run, n.state, n.time, n.attempts, n.next_time, n.last_error, d.type, o.cause,
    ifnull(json_extract(o.failure, '$.code'), 0), iif(n.run = d.run, d.group_id, '')
FROM notifications n
JOIN dead_letters d ON d.sequence = n.dead_letter
JOIN occurrences o ON o.dead_letter = n.dead_letter AND o.run = n.run;

DROP TABLE notifications;

ALTER TABLE notifications_new RENAME TO notifications;

CREATE INDEX notifications_due ON notifications (channel, next_time, sequence, time) WHERE state = 1;

CREATE INDEX notifications_ended ON notifications (time) WHERE state <> 1;

-- Codes are counted besides.
DROP INDEX dead_letters_open;

CREATE INDEX dead_letters_open ON dead_letters (is_foreign, type, cause, code, dead_time) WHERE state = 1;
