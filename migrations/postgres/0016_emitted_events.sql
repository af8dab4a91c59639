-- Events that executions publish, from the step that made them until they are
-- with all that listens.

CREATE TABLE emitted_events (
    id          text COLLATE "C" PRIMARY KEY,
    emitted_at  timestamptz NOT NULL,
    traceparent text,
    event       bytea NOT NULL
) WITH (
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX emitted_events_at_idx ON emitted_events (emitted_at, id);
