-- Until when an event that has started something is known again, in microseconds
-- since 1970; null for one that waits. Those of before have null as well, and
-- the day that was theirs.
ALTER TABLE gathered_events ADD COLUMN expires_at INTEGER;
CREATE INDEX gathered_events_expiry_idx
    ON gathered_events (coalesce(expires_at, gathered_at + 86400000000)) WHERE event IS NULL;
