//! Schedules follow their triggers and deployments.

use millrace_store::StoreError;
use millrace_types::{DeploymentId, DeploymentStatus};
use sqlx::PgConnection;

use crate::error::store_error;

/// Makes the schedules of a deployment those of its enabled triggers. One
/// whose trigger is as it was stays as it is. Schedules of triggers that are
/// gone have gone with them.
pub(crate) async fn sync(
    connection: &mut PgConnection,
    deployment: DeploymentId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM schedules s USING triggers t \
         WHERE s.deployment_id = $1 AND t.id = s.trigger_id \
           AND NOT (t.enabled AND t.kind IN ('cron', 'interval', 'once'))",
        "DELETE FROM backfills b USING schedules s, triggers t \
         WHERE s.deployment_id = $1 AND b.trigger_id = s.trigger_id AND t.id = s.trigger_id \
           AND s.spec <> t.spec",
        "INSERT INTO schedules AS s \
             (trigger_id, deployment_id, spec, anchor_at, decided_to, due_at) \
         SELECT id, deployment_id, spec, now(), now(), now() FROM triggers \
         WHERE deployment_id = $1 AND enabled AND kind IN ('cron', 'interval', 'once') \
         ON CONFLICT (trigger_id) DO UPDATE SET spec = excluded.spec, \
             anchor_at = excluded.anchor_at, decided_to = excluded.decided_to, \
             due_at = excluded.due_at, next_nominal = NULL, next_effective = NULL, \
             step = s.step + 1 \
         WHERE s.spec <> excluded.spec",
    ] {
        sqlx::query(statement)
            .bind(deployment.to_string())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Makes the deployment's schedules due, or removes them: an archived one has
/// none.
pub(crate) async fn status_changed(
    connection: &mut PgConnection,
    deployment: DeploymentId,
    status: DeploymentStatus,
) -> Result<(), StoreError> {
    let statement = match status {
        DeploymentStatus::Archived => "DELETE FROM schedules WHERE deployment_id = $1",
        DeploymentStatus::Deployed => {
            "UPDATE schedules SET resumed_at = now(), step = step + 1, \
                 due_at = CASE WHEN due_at IS NOT NULL THEN now() END \
             WHERE deployment_id = $1"
        }
        DeploymentStatus::Paused | DeploymentStatus::Draft => {
            "UPDATE schedules SET step = step + 1, \
                 due_at = CASE WHEN due_at IS NOT NULL THEN now() END \
             WHERE deployment_id = $1"
        }
    };
    sqlx::query(statement)
        .bind(deployment.to_string())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}
