-- The scheduler as a whole, which can be stopped, and occurrences that are
-- asked for afterwards.

-- One row: what every instance obeys.
CREATE TABLE scheduler (
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
    running    boolean     NOT NULL,
    -- Raised by every change, and by a restart.
    generation bigint      NOT NULL,
    reason     text        NOT NULL,
    changed_at timestamptz NOT NULL
);
INSERT INTO scheduler (running, generation, reason, changed_at) VALUES (true, 1, '', now());

-- One at a time for each schedule; gone when it is done.
CREATE TABLE backfills (
    trigger_id text COLLATE "C" PRIMARY KEY REFERENCES schedules (trigger_id) ON DELETE CASCADE,
    from_at    timestamptz NOT NULL,
    -- Exclusive.
    to_at      timestamptz NOT NULL,
    -- Every occurrence up to here, by nominal time, is dealt with.
    position   timestamptz NOT NULL,
    due_at     timestamptz NOT NULL,
    -- What an advance compares and sets.
    step       bigint      NOT NULL DEFAULT 1,
    asked_at   timestamptz NOT NULL
);
CREATE INDEX backfills_due_idx ON backfills (due_at);
