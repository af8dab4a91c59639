//! Where webhooks listen: each (shape, method) belongs to one trigger.

use millrace_store::{DeployRefused, NewDeployment, StoreError, WebhookMatch};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::{FromRow, PgConnection};

use super::read::TriggerRow;
use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::store_error;

/// Frees every route of a deployment.
pub(super) async fn free(
    connection: &mut PgConnection,
    deployment: DeploymentId,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM webhook_routes r USING triggers t \
         WHERE t.id = r.trigger_id AND t.deployment_id = $1",
    )
    .bind(deployment.to_string())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// A route that the bundle asks for.
struct Wanted<'a> {
    shape: &'a str,
    method: &'a str,
    path: &'a str,
    /// Index into the bundle's triggers.
    trigger: usize,
}

/// Replaces a deployment's routes by the bundle's; `ids` are its triggers'.
pub(super) async fn replace(
    connection: &mut PgConnection,
    deployment: DeploymentId,
    bundle: &NewDeployment,
    ids: &[TriggerId],
) -> Result<(), DeployRefused> {
    free(connection, deployment).await?;
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for (trigger, new) in bundle.triggers.iter().enumerate() {
        if let Some(route) = &new.route {
            wanted.extend(route.methods.iter().map(|method| Wanted {
                shape: &route.shape,
                method,
                path: &route.path,
                trigger,
            }));
        }
    }
    // In one order everywhere, so that deploys that clash wait for each other
    // rather than deadlock. The sort is stable: of two triggers of this bundle
    // with one route, the later one clashes.
    wanted.sort_by_key(|w| (w.shape, w.method));
    let twice = wanted
        .iter()
        .zip(wanted.iter().skip(1))
        .find(|(a, b)| (a.shape, a.method) == (b.shape, b.method));
    if let Some((_, later)) = twice {
        return Err(taken(later, deployment));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let inserted: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO webhook_routes (shape, method, path, trigger_id) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) \
         ON CONFLICT (shape, method) DO NOTHING RETURNING shape, method",
    )
    .bind(wanted.iter().map(|w| w.shape).collect::<Vec<_>>())
    .bind(wanted.iter().map(|w| w.method).collect::<Vec<_>>())
    .bind(wanted.iter().map(|w| w.path).collect::<Vec<_>>())
    .bind(
        wanted
            .iter()
            .map(|w| ids[w.trigger].to_string())
            .collect::<Vec<_>>(),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    // The first in the bundle's own order, so that the answer is the same
    // whichever way it was sorted.
    let clash = wanted
        .iter()
        .filter(|w| !inserted.iter().any(|(s, m)| s == w.shape && m == w.method))
        .min_by_key(|w| w.trigger);
    let Some(clash) = clash else { return Ok(()) };
    let holder: Option<String> = sqlx::query_scalar(
        "SELECT t.deployment_id FROM webhook_routes r JOIN triggers t ON t.id = r.trigger_id \
         WHERE r.shape = $1 AND r.method = $2",
    )
    .bind(clash.shape)
    .bind(clash.method)
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    let Some(holder) = holder else {
        return Err(StoreError::Contended(format!(
            "path `{}` was just freed by another deploy",
            clash.path
        ))
        .into());
    };
    Err(taken(clash, parsed(&holder)?))
}

fn taken(wanted: &Wanted<'_>, holder: DeploymentId) -> DeployRefused {
    DeployRefused::PathTaken {
        trigger: wanted.trigger,
        path: wanted.path.to_owned(),
        method: wanted.method.to_owned(),
        holder,
    }
}

pub(super) async fn find(
    store: &PostgresStore,
    shapes: &[String],
) -> Result<Vec<WebhookMatch>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        #[sqlx(flatten)]
        trigger: TriggerRow,
        workflow_id: String,
        deployment_status: String,
        path: String,
        shape: String,
        method: String,
        sealed_secrets: Option<String>,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT t.deployment_id, t.id, t.kind, t.name, t.enabled, t.spec, t.revision, \
                t.sealed_secrets, \
                w.workflow_id, w.deployment_status, r.path, r.shape, r.method \
         FROM webhook_routes r \
         JOIN triggers t ON t.id = r.trigger_id \
         JOIN workflows w ON w.deployment_id = t.deployment_id \
         WHERE r.shape = ANY($1) ORDER BY r.shape, r.method",
    )
    .bind(shapes)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|row| {
            Ok(WebhookMatch {
                deployment_id: parsed(&row.trigger.deployment_id)?,
                workflow_id: parsed(&row.workflow_id)?,
                deployment_status: parsed(&row.deployment_status)?,
                path: row.path,
                shape: row.shape,
                method: row.method,
                sealed_secrets: row.sealed_secrets,
                trigger: row.trigger.record()?,
            })
        })
        .collect()
}
