-- +goose Up

-- What is open is counted by type and cause every few seconds while it is watched. 1 is
-- store.StateOpen.
CREATE INDEX dead_letters_open ON dead_letters (is_foreign, type, cause, dead_time) WHERE state = 1;
