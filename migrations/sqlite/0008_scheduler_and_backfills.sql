-- The scheduler as a whole, which can be stopped, and occurrences that are
-- asked for afterwards.

-- One row: what every instance obeys.
CREATE TABLE scheduler (
    one        INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    running    INTEGER NOT NULL,
    -- Raised by every change, and by a restart.
    generation INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
INSERT INTO scheduler (running, generation, reason, changed_at)
VALUES (1, 1, '', unixepoch() * 1000000);

-- One at a time for each schedule; gone when it is done.
CREATE TABLE backfills (
    trigger_id TEXT NOT NULL PRIMARY KEY REFERENCES schedules (trigger_id) ON DELETE CASCADE,
    from_at    INTEGER NOT NULL,
    -- Exclusive.
    to_at      INTEGER NOT NULL,
    -- Every occurrence up to here, by nominal time, is dealt with.
    position   INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    -- What an advance compares and sets.
    step       INTEGER NOT NULL DEFAULT 1,
    asked_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX backfills_due_idx ON backfills (due_at);
