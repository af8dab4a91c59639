-- Executions that nobody owns and that have a deadline, so that those past it
-- are found however many others are due. Only deployments with timeouts have
-- rows in these.
CREATE INDEX executions_deadline_idx ON executions (deadline_at, id)
    WHERE owner IS NULL AND deadline_at IS NOT NULL;
CREATE INDEX executions_start_by_idx ON executions (start_by, id)
    WHERE owner IS NULL AND started_at IS NULL AND start_by IS NOT NULL;
