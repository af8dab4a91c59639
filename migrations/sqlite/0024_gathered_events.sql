-- Events that a trigger waits for together: one for each of its filters. Those
-- that have started something are known again for a while.

CREATE TABLE gathered_events (
    -- In the order of arrival.
    number       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    trigger_id   TEXT NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    -- What tells the event from others.
    key          TEXT NOT NULL,
    -- What tells the trigger's filters, when the event came, from others.
    wants        TEXT NOT NULL,
    -- The filters that it fits, the first as the lowest bit.
    fits         INTEGER NOT NULL,
    -- Microseconds since 1970.
    gathered_at  INTEGER NOT NULL,
    -- Null once it has started something.
    event        BLOB,
    execution_id TEXT,
    UNIQUE (trigger_id, key)
) STRICT;
CREATE INDEX gathered_events_waiting_idx
    ON gathered_events (trigger_id, number) WHERE event IS NOT NULL;
CREATE INDEX gathered_events_started_idx
    ON gathered_events (trigger_id, gathered_at) WHERE event IS NULL;
