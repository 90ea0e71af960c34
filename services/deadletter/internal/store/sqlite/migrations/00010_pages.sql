-- +goose Up

-- Pages of what is filtered by type, trace or label, newest first. What else filters ask
-- for most is looked at in the index, before the row.

CREATE INDEX dead_letters_type ON dead_letters (type, sequence, state, cause, code);

CREATE INDEX dead_letters_trace ON dead_letters (trace_id, sequence);

CREATE INDEX dead_letters_task ON dead_letters (task_id, sequence);

CREATE INDEX labels_value ON labels (key, value, dead_letter);
