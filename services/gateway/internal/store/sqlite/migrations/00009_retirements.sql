-- +goose Up

-- Task types that were retired, until a worker announces them anew. What programs of
-- earlier versions write and read stays as it is; a type that is announced to one of
-- those stays here too, and is announced again to a newer one.
CREATE TABLE retirements (
    method    TEXT    NOT NULL PRIMARY KEY, -- as in definitions
    task_type TEXT    NOT NULL,
    input     TEXT    NOT NULL,
    output    TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    time      INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
