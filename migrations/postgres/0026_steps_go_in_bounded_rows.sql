-- The steps of a few executions may be very many. A call that deletes those of a
-- fixed number of executions may then never come to its end in time.

-- As millrace_let_steps_go, which the release before calls; but it deletes
-- `most_rows` at most, and goes on to further executions only once nothing was
-- left of these.
CREATE FUNCTION millrace_let_some_steps_go(default_days integer, most_executions integer,
                                           most_rows integer)
RETURNS boolean LANGUAGE plpgsql
-- Only by keys: what the planner takes for a small partition may be a large one.
SET enable_seqscan = off AS $$
DECLARE
    today     date := (now() AT TIME ZONE 'UTC')::date;
    rows_left integer := most_rows;
    longest   integer;
    child     text;
    last_day  date;
    since     text;
    first_day date;
    ids       text[];
    part      text;
    deleted   integer;
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
        INTO ids, first_day USING since, most_executions;
    -- Nobody drops one of the partitions that are gone through here.
    LOCK TABLE execution_events IN ROW EXCLUSIVE MODE;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'execution_events'::regclass AND ids IS NOT NULL
          AND millrace_partition_day(c.relname) BETWEEN least(first_day, last_day) AND last_day
        ORDER BY c.relname
    LOOP
        EXECUTE format('DELETE FROM %1$I WHERE ctid = ANY (ARRAY(
                            SELECT ctid FROM %1$I WHERE execution_id = ANY ($1) LIMIT $2))', part)
            USING ids, rows_left;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        rows_left := rows_left - deleted;
        EXIT WHEN rows_left <= 0;
    END LOOP;
    IF rows_left > 0 AND ids IS NOT NULL THEN
        since := ids[cardinality(ids)];
    END IF;
    INSERT INTO steps_let_go (partition, last_id, done)
    VALUES (child, since, rows_left > 0 AND coalesce(cardinality(ids), 0) < most_executions)
    ON CONFLICT (partition) DO UPDATE
    SET last_id = excluded.last_id, done = excluded.done, updated_at = now();
    RETURN true;
END $$;
