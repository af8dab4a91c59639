-- Events that a trigger waits for together: one for each of its filters. Those
-- that have started something are known again for a while.

CREATE TABLE gathered_events (
    trigger_id   text COLLATE "C" NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    -- What tells the event from others.
    key          text COLLATE "C" NOT NULL,
    -- In the order of arrival.
    number       bigint GENERATED ALWAYS AS IDENTITY,
    -- What tells the trigger's filters, when the event came, from others.
    wants        text COLLATE "C" NOT NULL,
    -- The filters that it fits, the first as the lowest bit.
    fits         bigint      NOT NULL,
    gathered_at  timestamptz NOT NULL,
    -- Null once it has started something.
    event        bytea,
    execution_id text COLLATE "C",
    PRIMARY KEY (trigger_id, key)
) WITH (
    fillfactor = 85,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX gathered_events_waiting_idx
    ON gathered_events (trigger_id, number) WHERE event IS NOT NULL;
CREATE INDEX gathered_events_started_idx
    ON gathered_events (trigger_id, gathered_at) WHERE event IS NULL;
