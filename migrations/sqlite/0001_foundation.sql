-- Workflows and what is live of them; executions, live and ended; their
-- history. Identifiers are text that sorts by creation. Times are
-- microseconds since 1970 in UTC. Payloads are JSON text kept as bytes.

-- Workflows, each with its one deployment.
CREATE TABLE workflows (
    workflow_id       TEXT NOT NULL PRIMARY KEY,
    deployment_id     TEXT NOT NULL UNIQUE,
    namespace         TEXT NOT NULL,
    name              TEXT NOT NULL,
    deployment_status TEXT NOT NULL
        CONSTRAINT workflows_deployment_status_check
        CHECK (deployment_status IN ('DRAFT', 'DEPLOYED', 'PAUSED', 'ARCHIVED')),
    deployed_at       INTEGER,
    deployment_config BLOB NOT NULL,
    current_version   INTEGER NOT NULL,
    -- A flat object of texts; only searched, never shown byte for byte.
    labels            TEXT NOT NULL DEFAULT '{}',
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    UNIQUE (namespace, name)
) STRICT;
CREATE INDEX workflows_status_idx ON workflows (deployment_status, deployment_id);
CREATE INDEX workflows_deployed_at_idx ON workflows (deployed_at);
CREATE INDEX workflows_name_idx ON workflows (name, deployment_id);

-- Never changed once written.
CREATE TABLE workflow_versions (
    workflow_id      TEXT NOT NULL REFERENCES workflows (workflow_id),
    version          INTEGER NOT NULL CHECK (version > 0),
    workflow_version TEXT NOT NULL,
    digest           TEXT NOT NULL,
    definition       BLOB NOT NULL,
    source           BLOB NOT NULL,
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, version),
    UNIQUE (workflow_id, digest)
) STRICT;

CREATE TABLE triggers (
    id            TEXT NOT NULL PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES workflows (deployment_id),
    -- What tells it from the other triggers of its deployment: its name, or
    -- its kind and its place among the nameless of that kind.
    slot          TEXT NOT NULL,
    -- Its place in the deployment's list.
    position      INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    name          TEXT,
    enabled       INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    spec          BLOB NOT NULL,
    revision      INTEGER NOT NULL DEFAULT 1,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    UNIQUE (deployment_id, slot)
) STRICT;

CREATE TABLE webhook_routes (
    shape      TEXT NOT NULL,
    method     TEXT NOT NULL,
    path       TEXT NOT NULL,
    trigger_id TEXT NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    PRIMARY KEY (shape, method)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_routes_trigger_idx ON webhook_routes (trigger_id);

-- Lives of runtime processes.
CREATE TABLE incarnations (
    id         TEXT NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Live executions only: small, and written all the time. The input comes
-- last, so that a long one does not push the rest onto further pages.
CREATE TABLE executions (
    id             TEXT NOT NULL PRIMARY KEY,
    deployment_id  TEXT NOT NULL,
    workflow_id    TEXT NOT NULL,
    version        INTEGER NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'WAITING')),
    trigger_kind   TEXT NOT NULL,
    trigger_id     TEXT,
    owner          TEXT,
    epoch          INTEGER NOT NULL,
    checkpoint_seq INTEGER NOT NULL DEFAULT 0,
    next_event_seq INTEGER NOT NULL DEFAULT 1,
    -- When it is due to be claimed; null while it is owned.
    wake_at        INTEGER,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    traceparent    TEXT,
    rerun_of       TEXT,
    input          BLOB NOT NULL,
    CHECK ((owner IS NULL) = (wake_at IS NOT NULL)),
    CHECK ((owner IS NOT NULL) = (status = 'RUNNING'))
) STRICT;
CREATE INDEX executions_due_idx ON executions (wake_at, id) WHERE owner IS NULL;
CREATE INDEX executions_owner_idx ON executions (owner) WHERE owner IS NOT NULL;
CREATE INDEX executions_deployment_idx ON executions (deployment_id, id);

CREATE TABLE frames (
    execution_id TEXT NOT NULL,
    id           INTEGER NOT NULL,
    data         BLOB NOT NULL,
    PRIMARY KEY (execution_id, id)
) STRICT;

CREATE TABLE timers (
    execution_id TEXT NOT NULL,
    id           INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    PRIMARY KEY (execution_id, id)
) STRICT, WITHOUT ROWID;

-- The first answer for each key, kept whole: it outlives the execution when
-- retention is the shorter of the two.
CREATE TABLE dedupe (
    deployment_id TEXT NOT NULL,
    key           TEXT NOT NULL,
    execution_id  TEXT NOT NULL,
    workflow_id   TEXT NOT NULL,
    version       INTEGER NOT NULL,
    admitted_at   INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (deployment_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedupe_expires_idx ON dedupe (expires_at);

-- Ended executions. `last_day` is the last day on which one is kept.
CREATE TABLE executions_ended (
    id             TEXT NOT NULL PRIMARY KEY,
    retention_days INTEGER NOT NULL CHECK (retention_days >= 0),
    -- Days since 1970 in UTC.
    ended_day      INTEGER NOT NULL,
    last_day       INTEGER NOT NULL GENERATED ALWAYS AS (ended_day + retention_days) VIRTUAL,
    deployment_id  TEXT NOT NULL,
    workflow_id    TEXT NOT NULL,
    version        INTEGER NOT NULL,
    status         TEXT NOT NULL
        CHECK (status IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT')),
    trigger_kind   TEXT NOT NULL,
    trigger_id     TEXT,
    epoch          INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    ended_at       INTEGER NOT NULL,
    rerun_of       TEXT,
    error          BLOB,
    output         BLOB,
    input          BLOB NOT NULL
) STRICT;
CREATE INDEX executions_ended_last_day_idx ON executions_ended (last_day);
CREATE INDEX executions_ended_deployment_idx ON executions_ended (deployment_id, id);
-- Those that went wrong are few, and asked for often.
CREATE INDEX executions_ended_unsuccessful_idx ON executions_ended (status, id)
    WHERE status <> 'SUCCEEDED';

-- One row for the events that one commit brought, as a JSON array.
CREATE TABLE execution_events (
    execution_id TEXT NOT NULL,
    first_seq    INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    -- Of the commit: days since 1970 in UTC.
    day          INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    events       BLOB NOT NULL,
    PRIMARY KEY (execution_id, first_seq)
) STRICT;
