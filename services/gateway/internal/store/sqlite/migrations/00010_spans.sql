-- +goose Up

-- Where executions are in traces. What programs of earlier versions write and read
-- stays as it is.

-- The trace id, 16 bytes, and the span id, 8 bytes, or none; NULL for neither.
ALTER TABLE task_events ADD COLUMN span BLOB;
