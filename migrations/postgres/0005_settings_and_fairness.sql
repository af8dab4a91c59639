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
