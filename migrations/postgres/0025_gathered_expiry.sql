-- Until when an event that has started something is known again; of one that
-- waits, nothing. Those of before have the day that was theirs; so have those
-- that older instances write.
ALTER TABLE gathered_events
    ADD COLUMN expires_at timestamptz NOT NULL DEFAULT now() + interval '1 day';
CREATE INDEX gathered_events_expiry_idx ON gathered_events (expires_at) WHERE event IS NULL;
