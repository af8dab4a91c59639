-- What a deployment sets about its executions, slots of concurrency, and
-- claims that are fair between deployments.

-- Null: not set. Timeouts in microseconds, retention in days.
ALTER TABLE workflows
    ADD COLUMN priority       smallint NOT NULL DEFAULT 0,
    -- {limit, key, policy} as JSON text.
    ADD COLUMN concurrency    bytea,
    ADD COLUMN start_timeout  bigint,
    ADD COLUMN idle_timeout   bigint,
    ADD COLUMN total_timeout  bigint,
    ADD COLUMN keep_succeeded integer,
    ADD COLUMN keep_failed    integer;

ALTER TABLE executions
    -- What its deployment had set when it was admitted.
    ADD COLUMN start_by       timestamptz,
    ADD COLUMN deadline_at    timestamptz,
    ADD COLUMN idle_timeout   bigint,
    ADD COLUMN keep_succeeded integer,
    ADD COLUMN keep_failed    integer,
    -- The value of the concurrency key; null without a limit.
    ADD COLUMN slot_key       text COLLATE "C",
    -- The slot that it holds until it ends; null while it queues for one.
    ADD COLUMN slot           integer,
    -- How often in a row it was given back without progress.
    ADD COLUMN failed_starts  integer NOT NULL DEFAULT 0;

-- One holder for each slot; the row goes when the execution ends.
CREATE UNIQUE INDEX executions_slot_idx ON executions (deployment_id, slot_key, slot)
    WHERE slot IS NOT NULL;
-- Who queues for a slot, first come first.
CREATE INDEX executions_queue_idx ON executions (deployment_id, slot_key, id)
    WHERE slot_key IS NOT NULL AND slot IS NULL;
-- What each deployment has due. What is owned from its admission on never
-- enters it.
CREATE INDEX executions_due_by_deployment_idx ON executions (deployment_id, wake_at, id)
    WHERE owner IS NULL;

-- The day that a partition's name ends with; null for any other name. The
-- planner may ask it of every relation there is before it looks at whose
-- partition one is, as it does once there are many.
CREATE FUNCTION millrace_partition_day(relation name)
RETURNS date LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN relation::text ~ '_[0-9]{8}$'
                THEN to_date(right(relation::text, 8), 'YYYYMMDD') END
$$;

CREATE OR REPLACE FUNCTION millrace_drop_partitions(default_days integer, at_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    today    date := (now() AT TIME ZONE 'UTC')::date;
    longest  integer := default_days;
    class    integer;
    occupied boolean;
    child    text;
    dropped  integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('millrace partitions', 0));
    FOR class IN SELECT days FROM retention_classes WHERE days > default_days ORDER BY days DESC LOOP
        CONTINUE WHEN to_regclass('executions_ended_r' || class) IS NULL;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', 'executions_ended_r' || class) INTO occupied;
        IF occupied THEN
            longest := class;
            EXIT;
        END IF;
    END LOOP;
    FOR child IN
        SELECT relname FROM (
            SELECT c.relname, millrace_partition_day(c.relname) AS day, longest AS days
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'execution_events'::regclass
            UNION ALL
            SELECT c.relname, millrace_partition_day(c.relname), r.days
            FROM retention_classes r
            JOIN pg_inherits i ON i.inhparent = to_regclass('executions_ended_r' || r.days)
            JOIN pg_class c ON c.oid = i.inhrelid
        ) p
        WHERE p.day < today - p.days
        ORDER BY p.day, p.relname
        LIMIT at_most
    LOOP
        EXECUTE format('DROP TABLE %I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

CREATE OR REPLACE FUNCTION millrace_drop_fires_partitions(days integer, at_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    child   text;
    dropped integer := 0;
BEGIN
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'fires'::regclass
          AND millrace_partition_day(c.relname) < today - days
        ORDER BY c.relname
        LIMIT at_most
    LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended('millrace partitions', 0));
        EXECUTE format('DROP TABLE IF EXISTS %I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
