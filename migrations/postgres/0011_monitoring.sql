-- What lists and statistics walk, so that no question reads ended rows without
-- bound. All but the last hold few rows: those that went wrong, and those that
-- neither a webhook nor a hand started. An index of a partitioned table cannot
-- be made CONCURRENTLY; no release has these tables without it.
CREATE INDEX executions_ended_status_idx ON executions_ended (status, id)
    WHERE status <> 'SUCCEEDED';
CREATE INDEX executions_ended_deployment_unsuccessful_idx ON executions_ended (deployment_id, id)
    WHERE status <> 'SUCCEEDED';
CREATE INDEX executions_ended_rare_trigger_idx ON executions_ended (trigger_id, id)
    WHERE trigger_kind NOT IN ('webhook', 'manual');
CREATE INDEX executions_ended_rare_kind_idx ON executions_ended (trigger_kind, id)
    WHERE trigger_kind NOT IN ('webhook', 'manual');
-- Entries come in this order: each goes to the last page.
CREATE INDEX fires_decided_idx ON fires (decided_at);
