-- Projects of services, their workloads, and the processes of these.

CREATE TABLE projects (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    key        TEXT NOT NULL UNIQUE,
    -- Absolute and canonical.
    local_path TEXT NOT NULL,
    git        TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- Timestamps are the orchestrator's: it is the only writer of its workloads.
CREATE TABLE workloads (
    id            TEXT NOT NULL PRIMARY KEY,
    project_id    TEXT NOT NULL REFERENCES projects (id),
    service       TEXT NOT NULL,
    -- The orchestrator that owns it.
    node_id       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    -- Raised by each change, which names the one that it was made from.
    revision      INTEGER NOT NULL,
    desired       TEXT NOT NULL CHECK (desired IN ('running', 'stopped')),
    stage         TEXT NOT NULL CHECK (stage IN
        ('pending', 'validate', 'build', 'deploy', 'running', 'stopped', 'failed')),
    kind          TEXT NOT NULL,
    port          INTEGER,
    pid           INTEGER,
    error_reason  TEXT,
    error_message TEXT,
    restarts      INTEGER NOT NULL,
    next_retry_at INTEGER,
    ready         INTEGER,
    UNIQUE (project_id, service)
) STRICT;
CREATE INDEX workloads_node_idx ON workloads (node_id, id);
CREATE INDEX workloads_project_idx ON workloads (project_id, id);

CREATE TABLE instances (
    id          TEXT NOT NULL PRIMARY KEY,
    workload_id TEXT NOT NULL REFERENCES workloads (id) ON DELETE CASCADE,
    node_id     TEXT NOT NULL,
    pid         INTEGER,
    port        INTEGER,
    -- Where its shim answers.
    socket      TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    exit_code   INTEGER,
    signal      INTEGER,
    reason      TEXT NOT NULL,
    limits      TEXT NOT NULL
) STRICT;
CREATE INDEX instances_workload_idx ON instances (workload_id, id);
CREATE INDEX instances_living_idx ON instances (node_id, id) WHERE ended_at IS NULL;
-- Ports are unique among the living of a node.
CREATE UNIQUE INDEX instances_port_idx ON instances (node_id, port)
    WHERE ended_at IS NULL AND port IS NOT NULL;
