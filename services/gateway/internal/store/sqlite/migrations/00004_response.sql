-- +goose Up

-- What a handler's call answers besides its message. What programs of earlier
-- versions write and read stays as it is.

-- Headers and trailers as JSON, their values in base64; NULL for none.
ALTER TABLE task_events ADD COLUMN metadata TEXT;
