-- A version keeps all that was deployed with it, so that it can be brought
-- back; an execution keeps that its end was asked for.

-- Triggers, settings and labels as JSON text; null for versions that were
-- made before this step.
ALTER TABLE workflow_versions ADD COLUMN bundle BLOB;

-- Why the execution is to be cancelled; null as long as nobody asked. It
-- outlives its owner, so that whoever goes on with it learns of it.
ALTER TABLE executions ADD COLUMN cancel_reason TEXT;
CREATE INDEX executions_cancel_idx ON executions (owner)
    WHERE owner IS NOT NULL AND cancel_reason IS NOT NULL;
