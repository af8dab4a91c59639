-- Events that executions publish, from the step that made them until they are
-- with all that listens.

CREATE TABLE emitted_events (
    id          TEXT NOT NULL PRIMARY KEY,
    emitted_at  INTEGER NOT NULL,
    traceparent TEXT,
    event       BLOB NOT NULL
) STRICT;
CREATE INDEX emitted_events_at_idx ON emitted_events (emitted_at, id);
