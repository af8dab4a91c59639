-- Ended executions, their events and the ledger of a month, as they would
-- have come about: :rows of them over 30 days, in the order of time.
-- :deployments, :clocked: arrays of ids as JSON text.
SET synchronous_commit = off;
SET work_mem = '64MB';
SELECT millrace_make_partitions(today - 31, today + 1, 30),
       millrace_make_fires_partitions(today - 31, today + 1)
FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t;

-- An id carries its millisecond in its first ten characters, in base 32.
CREATE FUNCTION bench_id(prefix text, ms bigint, n bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT prefix || '_' || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz', ((ms >> (5 * i)) & 31)::int + 1, 1), ''
        ORDER BY i DESC) || substr(md5(n::text), 1, 16)
    FROM generate_series(0, 9) i
$$;

CREATE TEMP TABLE bench_deployments AS
    SELECT n::int - 1 AS n, d->>'id' AS id, d->>'workflowId' AS workflow, d->>'cron' AS cron,
           d->>'webhook' AS webhook
    FROM json_array_elements(:'deployments'::json) WITH ORDINALITY AS j(d, n);
CREATE INDEX ON bench_deployments (n);

-- Half of all belong to the first deployment; the rest to the others alike.
-- 2 % fail, 0.5 % are cancelled, 0.5 % time out; 1 in 20 is started by hand,
-- 1 in 50 by the clock.
CREATE TEMP TABLE bench_rows AS
    SELECT bench_id('exe', (extract(epoch FROM at) * 1000)::bigint, g) AS id, g, at,
           CASE WHEN g % 2 = 0 THEN 0 ELSE 1 + (g / 2) % (SELECT count(*) - 1 FROM bench_deployments) END AS d,
           CASE WHEN g % 50 = 7 THEN 'FAILED' WHEN g % 200 = 9 THEN 'CANCELLED'
                WHEN g % 200 = 11 THEN 'TIMED_OUT' ELSE 'SUCCEEDED' END AS status,
           CASE WHEN g % 50 = 3 THEN 'cron' WHEN g % 20 = 4 THEN 'manual' ELSE 'webhook' END AS kind
    FROM (SELECT g, now() - interval '30 days' + g * (interval '30 days' / :rows) AS at
          FROM generate_series(0, :rows - 1) g) s;

INSERT INTO executions_ended (id, retention_days, ended_day, deployment_id, workflow_id, version,
        status, trigger_kind, trigger_id, epoch, created_at, started_at, ended_at, input, output, error)
    SELECT r.id, 30, ((at + interval '200 ms') AT TIME ZONE 'UTC')::date, b.id, b.workflow, 1,
           status, kind,
           CASE kind WHEN 'cron' THEN b.cron WHEN 'webhook' THEN b.webhook END,
           1, at, at + interval '2 ms', at + interval '200 ms',
           convert_to('{"orderId":"A-' || g || '","customer":"Ada","amount":129.5}', 'UTF8'),
           CASE status WHEN 'SUCCEEDED' THEN '\x7b7d'::bytea END,
           CASE WHEN status <> 'SUCCEEDED' THEN convert_to(
               '{"type":"https://open-workflow-specification.org/spec/1.0.0/errors/communication","status":503,'
               || '"title":"Service unavailable","detail":"order ' || g || ' was refused"}', 'UTF8') END
    FROM bench_rows r JOIN bench_deployments b ON b.n = r.d;

INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events)
    SELECT id, 1, 3, ((at + interval '200 ms') AT TIME ZONE 'UTC')::date, at,
           '\x5b7b22736571223a312c226b696e64223a22657865637574696f6e53746172746564227d5d'::bytea
    FROM bench_rows;

INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at, decided_at, day, outcome,
        reason, execution_id)
    SELECT b.cron, at, at, 1, at + interval '30 s', at + interval '30 s',
           (at AT TIME ZONE 'UTC')::date, 'fired', '', r.id
    FROM bench_rows r JOIN bench_deployments b ON b.n = r.d WHERE kind = 'cron'
    ON CONFLICT DO NOTHING;

DROP TABLE bench_rows;
VACUUM (ANALYZE) executions_ended;
VACUUM (ANALYZE) execution_events;
VACUUM (ANALYZE) fires;
CHECKPOINT;
