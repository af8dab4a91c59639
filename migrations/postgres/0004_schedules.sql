-- When triggers are due by the clock, and the ledger of their occurrences.

-- One row for each enabled trigger of the types cron, interval and once.
CREATE TABLE schedules (
    trigger_id     text COLLATE "C" PRIMARY KEY REFERENCES triggers (id) ON DELETE CASCADE,
    deployment_id  text COLLATE "C" NOT NULL,
    -- The trigger's, as it was when the schedule began.
    spec           bytea       NOT NULL,
    anchor_at      timestamptz NOT NULL,
    -- Every occurrence up to here, by nominal time, is decided.
    decided_to     timestamptz NOT NULL,
    resumed_at     timestamptz,
    next_nominal   timestamptz,
    next_effective timestamptz,
    -- When a decision is due; null: never.
    due_at         timestamptz,
    -- What a decision compares and sets.
    step           bigint      NOT NULL DEFAULT 1,
    -- The execution of the last occurrence that fired.
    last_execution text COLLATE "C"
) WITH (
    fillfactor = 70,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX schedules_due_idx ON schedules (due_at, trigger_id) WHERE due_at IS NOT NULL;
CREATE INDEX schedules_deployment_idx ON schedules (deployment_id);

-- Partitioned by the day of the nominal time; a row of several occurrences
-- belongs to the day of the last one, so that it is kept as long as that one
-- would be.
CREATE TABLE fires (
    trigger_id   text COLLATE "C" NOT NULL,
    nominal_at   timestamptz NOT NULL,
    -- The last of `count` occurrences in a row that did not run.
    until_at     timestamptz NOT NULL,
    count        bigint      NOT NULL CHECK (count > 0),
    effective_at timestamptz NOT NULL,
    decided_at   timestamptz NOT NULL,
    -- Of the last occurrence, in UTC.
    day          date        NOT NULL,
    outcome      text COLLATE "C" NOT NULL
        CHECK (outcome IN ('fired', 'skipped', 'missed', 'paused', 'failed')),
    reason       text        NOT NULL,
    execution_id text COLLATE "C",
    PRIMARY KEY (trigger_id, nominal_at, day)
) PARTITION BY RANGE (day);

-- Makes the ledger's partitions of a span of days, as
-- millrace_make_partitions does. Answers how many it made.
CREATE FUNCTION millrace_make_fires_partitions(first_day date, last_day date)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made  integer := 0;
    child text;
    d     date;
BEGIN
    FOR d IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        child := 'fires_' || to_char(d, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(child) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtextextended('millrace partitions', 0));
        -- Someone else may have made it while this one waited.
        CONTINUE WHEN to_regclass(child) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE fires INCLUDING ALL)', child);
        EXECUTE format('ALTER TABLE fires ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       child, d, d + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Drops up to `at_most` partitions of the ledger that lie more than `days`
-- back, oldest first. Answers how many.
CREATE FUNCTION millrace_drop_fires_partitions(days integer, at_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    child   text;
    dropped integer := 0;
BEGIN
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'fires'::regclass
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - days
        ORDER BY c.relname
        LIMIT at_most
    LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended('millrace partitions', 0));
        EXECUTE format('DROP TABLE IF EXISTS %I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
