-- +goose Up

-- Which tasks of a schedule have not ended. What programs of earlier versions write and
-- read stays as it is.
CREATE INDEX tasks_unended ON tasks (schedule_id) WHERE schedule_id IS NOT NULL AND state < 5; -- SUCCEEDED
