-- When triggers are due by the clock, and the ledger of their occurrences.

-- One row for each enabled trigger of the types cron, interval and once.
CREATE TABLE schedules (
    trigger_id     TEXT NOT NULL PRIMARY KEY REFERENCES triggers (id) ON DELETE CASCADE,
    deployment_id  TEXT NOT NULL,
    -- The trigger's, as it was when the schedule began.
    spec           BLOB NOT NULL,
    anchor_at      INTEGER NOT NULL,
    -- Every occurrence up to here, by nominal time, is decided.
    decided_to     INTEGER NOT NULL,
    resumed_at     INTEGER,
    next_nominal   INTEGER,
    next_effective INTEGER,
    -- When a decision is due; null: never.
    due_at         INTEGER,
    -- What a decision compares and sets.
    step           INTEGER NOT NULL DEFAULT 1,
    -- The execution of the last occurrence that fired.
    last_execution TEXT
) STRICT;
CREATE INDEX schedules_due_idx ON schedules (due_at, trigger_id) WHERE due_at IS NOT NULL;
CREATE INDEX schedules_deployment_idx ON schedules (deployment_id);

CREATE TABLE fires (
    trigger_id   TEXT NOT NULL,
    nominal_at   INTEGER NOT NULL,
    -- The last of `count` occurrences in a row that did not run.
    until_at     INTEGER NOT NULL,
    count        INTEGER NOT NULL CHECK (count > 0),
    effective_at INTEGER NOT NULL,
    decided_at   INTEGER NOT NULL,
    -- Of the last occurrence: days since 1970 in UTC.
    day          INTEGER NOT NULL,
    outcome      TEXT NOT NULL
        CHECK (outcome IN ('fired', 'skipped', 'missed', 'paused', 'failed')),
    reason       TEXT NOT NULL,
    execution_id TEXT,
    PRIMARY KEY (trigger_id, nominal_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX fires_day_idx ON fires (day);
