-- Steps lie in partitions by day alone, which are dropped once the longest class
-- in use lets go of their day. Where an execution's own class is shorter, its
-- steps are deleted before its row is dropped. What the functions of before have
-- left behind of such goes with the partitions.

-- How far that has come, by partition of executions_ended.
CREATE TABLE steps_let_go (
    partition  text COLLATE "C" PRIMARY KEY,
    -- The last execution, by id, whose steps are gone.
    last_id    text COLLATE "C" NOT NULL,
    -- Nothing is left: the partition may be dropped.
    done       boolean     NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The longest class that still holds something, and no shorter one than
-- `default_days`.
CREATE FUNCTION millrace_longest_class(default_days integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    class    integer;
    occupied boolean;
BEGIN
    FOR class IN SELECT days FROM retention_classes WHERE days > default_days ORDER BY days DESC LOOP
        CONTINUE WHEN to_regclass('executions_ended_r' || class) IS NULL;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', 'executions_ended_r' || class) INTO occupied;
        IF occupied THEN
            RETURN class;
        END IF;
    END LOOP;
    RETURN default_days;
END $$;

-- Deletes the steps of up to `at_most` executions that are past their
-- retention, where partitions do not do so by themselves. Answers whether there
-- were some to look for. One caller at a time; others are told that there are
-- none.
CREATE FUNCTION millrace_let_steps_go(default_days integer, at_most integer)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    today     date := (now() AT TIME ZONE 'UTC')::date;
    longest   integer;
    child     text;
    last_day  date;
    since     text;
    first_day date;
    ids       text[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('millrace steps', 0)) THEN
        RETURN false;
    END IF;
    longest := millrace_longest_class(default_days);
    SELECT p.relname, p.day, coalesce(s.last_id, '') INTO child, last_day, since
    FROM (SELECT c.relname, millrace_partition_day(c.relname) AS day, r.days
          FROM retention_classes r
          JOIN pg_inherits i ON i.inhparent = to_regclass('executions_ended_r' || r.days)
          JOIN pg_class c ON c.oid = i.inhrelid
          WHERE r.days < longest) p
    LEFT JOIN steps_let_go s ON s.partition = p.relname
    WHERE p.day < today - p.days AND s.done IS NOT TRUE
    ORDER BY p.day, p.relname
    LIMIT 1;
    IF child IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT array_agg(id ORDER BY id), (min(created_at) AT TIME ZONE ''UTC'')::date
                    FROM (SELECT id, created_at FROM %I WHERE id > $1 ORDER BY id LIMIT $2) x', child)
        INTO ids, first_day USING since, at_most;
    IF ids IS NOT NULL THEN
        -- Days in the text: other partitions are not even opened.
        EXECUTE format('DELETE FROM execution_events
                        WHERE execution_id = ANY ($1) AND day BETWEEN %L AND %L',
                       least(first_day, last_day), last_day)
            USING ids;
        since := ids[cardinality(ids)];
    END IF;
    INSERT INTO steps_let_go (partition, last_id, done)
    VALUES (child, since, coalesce(cardinality(ids), 0) < at_most)
    ON CONFLICT (partition) DO UPDATE
    SET last_id = excluded.last_id, done = excluded.done, updated_at = now();
    RETURN true;
END $$;

-- As millrace_drop_partitions, which the release before calls; but ended
-- executions of a class that is not the longest go only after their steps.
CREATE FUNCTION millrace_drop_past_partitions(default_days integer, at_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    longest integer;
    child   text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('millrace partitions', 0));
    longest := millrace_longest_class(default_days);
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
            WHERE r.days >= longest
               OR c.relname IN (SELECT partition FROM steps_let_go WHERE done)
        ) p
        WHERE p.day < today - p.days
        ORDER BY p.day, p.relname
        LIMIT at_most
    LOOP
        EXECUTE format('DROP TABLE %I', child);
        DELETE FROM steps_let_go WHERE partition = child;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
