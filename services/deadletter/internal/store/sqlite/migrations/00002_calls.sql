-- +goose Up

-- Which calls begin replays. What programs of earlier versions write and read stays as
-- it is.

-- The W3C traceparent of the call; NULL for none.
ALTER TABLE intents ADD COLUMN call TEXT;
