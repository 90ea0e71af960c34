-- +goose Up

-- The payloads of dead letters that were revised. The others have theirs in messages.
CREATE TABLE payload_revisions (
    dead_letter INTEGER NOT NULL REFERENCES dead_letters (sequence),
    revision    INTEGER NOT NULL, -- from 1, the original, which is copied with the first revision
    time        INTEGER,          -- NULL: of the original
    actor       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    sha256      BLOB    NOT NULL,
    diff        TEXT    NOT NULL, -- against the one before
    payload     BLOB,             -- NULL: empty
    PRIMARY KEY (dead_letter, revision)
) STRICT;

-- Who forgets them forgets all of a dead letter: what comes in later is an original.
-- +goose StatementBegin
CREATE TRIGGER payload_revisions_forgotten AFTER DELETE ON payload_revisions WHEN old.revision = 1
BEGIN
    UPDATE dead_letters SET payload_revision = 1 WHERE sequence = old.dead_letter;
END;
-- +goose StatementEnd
