-- Projects of services, their workloads, and the processes of these.

CREATE TABLE projects (
    id         text COLLATE "C" PRIMARY KEY,
    name       text        NOT NULL,
    key        text COLLATE "C" NOT NULL UNIQUE,
    -- Absolute and canonical.
    local_path text        NOT NULL,
    git        text,
    created_at timestamptz NOT NULL
);

-- Timestamps are the orchestrator's: it is the only writer of its workloads.
CREATE TABLE workloads (
    id            text COLLATE "C" PRIMARY KEY,
    project_id    text COLLATE "C" NOT NULL REFERENCES projects (id),
    service       text COLLATE "C" NOT NULL,
    -- The orchestrator that owns it.
    node_id       text COLLATE "C" NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    -- Raised by each change, which names the one that it was made from.
    revision      bigint      NOT NULL,
    desired       text COLLATE "C" NOT NULL CHECK (desired IN ('running', 'stopped')),
    stage         text COLLATE "C" NOT NULL CHECK (stage IN
        ('pending', 'validate', 'build', 'deploy', 'running', 'stopped', 'failed')),
    kind          text        NOT NULL,
    port          integer,
    pid           bigint,
    error_reason  text,
    error_message text,
    restarts      bigint      NOT NULL,
    next_retry_at timestamptz,
    ready         boolean,
    UNIQUE (project_id, service)
) WITH (fillfactor = 70);
CREATE INDEX workloads_node_idx ON workloads (node_id, id);
CREATE INDEX workloads_project_idx ON workloads (project_id, id);

CREATE TABLE instances (
    id          text COLLATE "C" PRIMARY KEY,
    workload_id text COLLATE "C" NOT NULL REFERENCES workloads (id) ON DELETE CASCADE,
    node_id     text COLLATE "C" NOT NULL,
    pid         bigint,
    port        integer,
    -- Where its shim answers.
    socket      text        NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    exit_code   integer,
    signal      integer,
    reason      text        NOT NULL,
    limits      text        NOT NULL
);
CREATE INDEX instances_workload_idx ON instances (workload_id, id);
CREATE INDEX instances_living_idx ON instances (node_id, id) WHERE ended_at IS NULL;
-- Ports are unique among the living of a node.
CREATE UNIQUE INDEX instances_port_idx ON instances (node_id, port)
    WHERE ended_at IS NULL AND port IS NOT NULL;
