-- What a deployment sets about its executions, slots of concurrency, and
-- claims that are fair between deployments.

-- Null: not set. Timeouts in microseconds, retention in days.
ALTER TABLE workflows ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
-- {limit, key, policy} as JSON text.
ALTER TABLE workflows ADD COLUMN concurrency BLOB;
ALTER TABLE workflows ADD COLUMN start_timeout INTEGER;
ALTER TABLE workflows ADD COLUMN idle_timeout INTEGER;
ALTER TABLE workflows ADD COLUMN total_timeout INTEGER;
ALTER TABLE workflows ADD COLUMN keep_succeeded INTEGER;
ALTER TABLE workflows ADD COLUMN keep_failed INTEGER;

-- What its deployment had set when it was admitted.
ALTER TABLE executions ADD COLUMN start_by INTEGER;
ALTER TABLE executions ADD COLUMN deadline_at INTEGER;
ALTER TABLE executions ADD COLUMN idle_timeout INTEGER;
ALTER TABLE executions ADD COLUMN keep_succeeded INTEGER;
ALTER TABLE executions ADD COLUMN keep_failed INTEGER;
-- The value of the concurrency key; null without a limit.
ALTER TABLE executions ADD COLUMN slot_key TEXT;
-- The slot that it holds until it ends; null while it queues for one.
ALTER TABLE executions ADD COLUMN slot INTEGER;
-- How often in a row it was given back without progress.
ALTER TABLE executions ADD COLUMN failed_starts INTEGER NOT NULL DEFAULT 0;

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
-- (Reading the day of a partition from its name concerns PostgreSQL alone.)
