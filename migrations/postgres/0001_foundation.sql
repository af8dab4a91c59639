-- Workflows and what is live of them; executions, live and ended; their
-- history. Identifiers are text that sorts by creation, byte by byte (hence
-- COLLATE "C"). Payloads are JSON text kept as bytes, never jsonb.

-- Workflows, each with its one deployment.
CREATE TABLE workflows (
    workflow_id       text COLLATE "C" PRIMARY KEY,
    deployment_id     text COLLATE "C" NOT NULL UNIQUE,
    namespace         text COLLATE "C" NOT NULL,
    name              text COLLATE "C" NOT NULL,
    deployment_status text COLLATE "C" NOT NULL
        CONSTRAINT workflows_deployment_status_check
        CHECK (deployment_status IN ('DRAFT', 'DEPLOYED', 'PAUSED', 'ARCHIVED')),
    deployed_at       timestamptz,
    deployment_config bytea       NOT NULL,
    current_version   integer     NOT NULL,
    -- A flat object of texts; only searched, never shown byte for byte.
    labels            jsonb       NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflows_namespace_name_key UNIQUE (namespace, name)
);
CREATE INDEX workflows_status_idx ON workflows (deployment_status, deployment_id);
CREATE INDEX workflows_deployed_at_idx ON workflows (deployed_at);
CREATE INDEX workflows_name_idx ON workflows (name, deployment_id);
CREATE INDEX workflows_labels_idx ON workflows USING gin (labels jsonb_path_ops);

-- Never changed once written.
CREATE TABLE workflow_versions (
    workflow_id      text COLLATE "C" NOT NULL REFERENCES workflows (workflow_id),
    version          integer     NOT NULL CHECK (version > 0),
    workflow_version text        NOT NULL,
    digest           text COLLATE "C" NOT NULL,
    definition       bytea       NOT NULL,
    source           bytea       NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, version)
);
CREATE UNIQUE INDEX workflow_versions_digest_idx ON workflow_versions (workflow_id, digest);

CREATE TABLE triggers (
    id            text COLLATE "C" PRIMARY KEY,
    deployment_id text COLLATE "C" NOT NULL REFERENCES workflows (deployment_id),
    -- What tells it from the other triggers of its deployment: its name, or
    -- its kind and its place among the nameless of that kind.
    slot          text COLLATE "C" NOT NULL,
    -- Its place in the deployment's list.
    position      integer     NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    name          text,
    enabled       boolean     NOT NULL,
    spec          bytea       NOT NULL,
    revision      bigint      NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT triggers_slot_key UNIQUE (deployment_id, slot)
);

CREATE TABLE webhook_routes (
    shape      text COLLATE "C" NOT NULL,
    method     text COLLATE "C" NOT NULL,
    path       text NOT NULL,
    trigger_id text COLLATE "C" NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    PRIMARY KEY (shape, method)
);
CREATE INDEX webhook_routes_trigger_idx ON webhook_routes (trigger_id);

-- Lives of runtime processes. Heartbeats change only `expires_at`, which has
-- no index, so that they are heap-only updates.
CREATE TABLE incarnations (
    id         text COLLATE "C" PRIMARY KEY,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Live executions only. Small, and written all the time: vacuumed eagerly,
-- and never truncated, since that would take an exclusive lock. Nothing here
-- has foreign keys: they would lock the deployment's row on each admission.
CREATE TABLE executions (
    id             text COLLATE "C" PRIMARY KEY,
    deployment_id  text COLLATE "C" NOT NULL,
    workflow_id    text COLLATE "C" NOT NULL,
    version        integer     NOT NULL,
    status         text COLLATE "C" NOT NULL
        CHECK (status IN ('PENDING', 'RUNNING', 'WAITING')),
    trigger_kind   text COLLATE "C" NOT NULL,
    trigger_id     text COLLATE "C",
    owner          text COLLATE "C",
    epoch          bigint      NOT NULL,
    checkpoint_seq bigint      NOT NULL DEFAULT 0,
    next_event_seq bigint      NOT NULL DEFAULT 1,
    -- When it is due to be claimed; null while it is owned.
    wake_at        timestamptz,
    created_at     timestamptz NOT NULL,
    started_at     timestamptz,
    traceparent    text,
    rerun_of       text COLLATE "C",
    input          bytea       NOT NULL,
    CONSTRAINT executions_owner_check CHECK ((owner IS NULL) = (wake_at IS NOT NULL)),
    CONSTRAINT executions_running_check CHECK ((owner IS NOT NULL) = (status = 'RUNNING'))
) WITH (
    fillfactor = 85,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX executions_due_idx ON executions (wake_at, id) WHERE owner IS NULL;
CREATE INDEX executions_owner_idx ON executions (owner) WHERE owner IS NOT NULL;
CREATE INDEX executions_deployment_idx ON executions (deployment_id, id);

CREATE TABLE frames (
    execution_id text COLLATE "C" NOT NULL,
    id           bigint NOT NULL,
    data         bytea  NOT NULL,
    PRIMARY KEY (execution_id, id)
) WITH (
    fillfactor = 85,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE timers (
    execution_id text COLLATE "C" NOT NULL,
    id           bigint      NOT NULL,
    due_at       timestamptz NOT NULL,
    PRIMARY KEY (execution_id, id)
) WITH (
    fillfactor = 85,
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

-- The first answer for each key, kept whole: it outlives the execution when
-- retention is the shorter of the two.
CREATE TABLE dedupe (
    deployment_id text COLLATE "C" NOT NULL,
    key           text COLLATE "C" NOT NULL,
    execution_id  text COLLATE "C" NOT NULL,
    workflow_id   text COLLATE "C" NOT NULL,
    version       integer     NOT NULL,
    admitted_at   timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (deployment_id, key)
) WITH (vacuum_truncate = false, autovacuum_vacuum_scale_factor = 0.1);
CREATE INDEX dedupe_expires_idx ON dedupe (expires_at);

-- Ended executions, by (retention class, day of the end). Two levels instead
-- of one range over both: PostgreSQL prunes a range only by a prefix of its
-- key, and most questions know the day but not the class.
CREATE TABLE executions_ended (
    id             text COLLATE "C" NOT NULL,
    retention_days integer     NOT NULL,
    -- In UTC, by the database's clock.
    ended_day      date        NOT NULL,
    deployment_id  text COLLATE "C" NOT NULL,
    workflow_id    text COLLATE "C" NOT NULL,
    version        integer     NOT NULL,
    status         text COLLATE "C" NOT NULL
        CHECK (status IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT')),
    trigger_kind   text COLLATE "C" NOT NULL,
    trigger_id     text COLLATE "C",
    epoch          bigint      NOT NULL,
    created_at     timestamptz NOT NULL,
    started_at     timestamptz,
    ended_at       timestamptz NOT NULL,
    rerun_of       text COLLATE "C",
    input          bytea       NOT NULL,
    output         bytea,
    error          bytea,
    PRIMARY KEY (id, retention_days, ended_day)
) PARTITION BY LIST (retention_days);
CREATE INDEX executions_ended_deployment_idx ON executions_ended (deployment_id, id);
-- Those that went wrong are few, and asked for often.
CREATE INDEX executions_ended_unsuccessful_idx ON executions_ended (id)
    WHERE status <> 'SUCCEEDED';

-- One row for the events that one commit brought, as a JSON array.
CREATE TABLE execution_events (
    execution_id text COLLATE "C" NOT NULL,
    first_seq    bigint      NOT NULL,
    last_seq     bigint      NOT NULL,
    -- Of the commit, in UTC, by the database's clock.
    day          date        NOT NULL,
    at           timestamptz NOT NULL,
    events       bytea       NOT NULL,
    PRIMARY KEY (execution_id, first_seq, day)
) PARTITION BY RANGE (day);

-- The retention classes that have been seen; each has partitions ahead.
CREATE TABLE retention_classes (
    days       integer     PRIMARY KEY CHECK (days >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Makes the partitions of a span of days for every class seen, and for
-- `also_class` (null: no further one). Answers how many it made.
--
-- A partition is made as a table of its own and then attached: attaching only
-- takes a SHARE UPDATE EXCLUSIVE lock on the parent, where CREATE TABLE …
-- PARTITION OF would stop every reader and writer of it. The advisory lock
-- lets several instances call this at once.
CREATE FUNCTION millrace_make_partitions(first_day date, last_day date, also_class integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made   integer := 0;
    class  integer;
    parent text;
    child  text;
    d      date;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('millrace partitions', 0));
    IF also_class IS NOT NULL THEN
        INSERT INTO retention_classes (days) VALUES (also_class) ON CONFLICT DO NOTHING;
    END IF;
    FOR d IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        child := 'execution_events_' || to_char(d, 'YYYYMMDD');
        IF to_regclass(child) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE execution_events INCLUDING ALL)', child);
            EXECUTE format('ALTER TABLE execution_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           child, d, d + 1);
            made := made + 1;
        END IF;
    END LOOP;
    FOR class IN SELECT days FROM retention_classes ORDER BY days LOOP
        parent := 'executions_ended_r' || class;
        IF to_regclass(parent) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE executions_ended INCLUDING ALL) PARTITION BY RANGE (ended_day)',
                           parent);
            EXECUTE format('ALTER TABLE executions_ended ATTACH PARTITION %I FOR VALUES IN (%L)',
                           parent, class);
        END IF;
        FOR d IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
            child := parent || '_' || to_char(d, 'YYYYMMDD');
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, d, d + 1);
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- Drops up to `at_most` partitions that lie past retention, oldest first:
-- ended executions by their class, events by the longest class that still
-- holds something (and never sooner than `default_days`). Answers how many.
CREATE FUNCTION millrace_drop_partitions(default_days integer, at_most integer)
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
            SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD') AS day, longest AS days
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'execution_events'::regclass
            UNION ALL
            SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD'), r.days
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

-- The default retention.
INSERT INTO retention_classes (days) VALUES (30);
