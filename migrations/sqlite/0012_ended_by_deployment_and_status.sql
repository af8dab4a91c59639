-- One status of one deployment, without checking those of another row by row.
CREATE INDEX executions_ended_deployment_status_idx ON executions_ended (deployment_id, status, id)
    WHERE status <> 'SUCCEEDED';
