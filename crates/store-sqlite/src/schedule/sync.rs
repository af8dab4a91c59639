//! Schedules follow their triggers and deployments.

use millrace_store::StoreError;
use millrace_types::{DeploymentId, DeploymentStatus};
use sqlx::SqliteConnection;

use crate::error::store_error;

/// Makes the schedules of a deployment those of its enabled triggers. One
/// whose trigger is as it was stays as it is. Schedules of triggers that are
/// gone have gone with them.
pub async fn sync(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    now: i64,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM schedules WHERE deployment_id = ?1 AND trigger_id IN (
             SELECT id FROM triggers WHERE deployment_id = ?1
             AND NOT (enabled AND kind IN ('cron', 'interval', 'once'))) AND ?2 > 0",
        "DELETE FROM backfills WHERE ?2 > 0 AND trigger_id IN (
             SELECT s.trigger_id FROM schedules s JOIN triggers t ON t.id = s.trigger_id
             WHERE s.deployment_id = ?1 AND s.spec <> t.spec)",
        "INSERT INTO schedules (trigger_id, deployment_id, spec, anchor_at, decided_to, due_at)
         SELECT id, deployment_id, spec, ?2, ?2, ?2 FROM triggers
         WHERE deployment_id = ?1 AND enabled AND kind IN ('cron', 'interval', 'once')
         ON CONFLICT (trigger_id) DO UPDATE SET spec = excluded.spec,
             anchor_at = excluded.anchor_at, decided_to = excluded.decided_to,
             due_at = excluded.due_at, next_nominal = NULL, next_effective = NULL,
             step = step + 1
         WHERE spec <> excluded.spec",
    ] {
        sqlx::query(statement)
            .bind(deployment.to_string())
            .bind(now)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Makes the deployment's schedules due, or removes them: an archived one has
/// none.
pub async fn status_changed(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    status: DeploymentStatus,
    now: i64,
) -> Result<(), StoreError> {
    let statement = match status {
        DeploymentStatus::Archived => "DELETE FROM schedules WHERE deployment_id = ?1 AND ?2 > 0",
        DeploymentStatus::Deployed => {
            "UPDATE schedules SET resumed_at = ?2, due_at = iif(due_at IS NULL, NULL, ?2),
                 step = step + 1
             WHERE deployment_id = ?1"
        }
        DeploymentStatus::Paused | DeploymentStatus::Draft => {
            "UPDATE schedules SET due_at = iif(due_at IS NULL, NULL, ?2), step = step + 1
             WHERE deployment_id = ?1"
        }
    };
    sqlx::query(statement)
        .bind(deployment.to_string())
        .bind(now)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}
