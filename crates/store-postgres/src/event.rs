//! Who listens to events.

use async_trait::async_trait;
use millrace_store::{EventListener, EventStore, NewTrigger, StoreError};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::convert::parsed;
use crate::deployment::read::TriggerRow;
use crate::error::store_error;

#[async_trait]
impl EventStore for PostgresStore {
    async fn event_listeners(
        &self,
        event_type: &str,
        limit: u32,
    ) -> Result<Vec<EventListener>, StoreError> {
        self.bounded(find(self, event_type, limit)).await
    }
}

async fn find(
    store: &PostgresStore,
    event_type: &str,
    limit: u32,
) -> Result<Vec<EventListener>, StoreError> {
    let rows: Vec<TriggerRow> = sqlx::query_as(
        "SELECT t.deployment_id, t.id, t.kind, t.name, t.enabled, t.spec, t.revision \
         FROM event_listeners l \
         JOIN triggers t ON t.id = l.trigger_id \
         JOIN workflows w ON w.deployment_id = t.deployment_id \
         WHERE l.event_type IN ($1, '') AND t.enabled AND w.deployment_status = 'DEPLOYED' \
         ORDER BY t.id LIMIT $2",
    )
    .bind(event_type)
    .bind(i64::from(limit))
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|row| {
            Ok(EventListener {
                deployment_id: parsed(&row.deployment_id)?,
                trigger: row.record()?,
            })
        })
        .collect()
}

/// Replaces what the deployment's triggers listen to; `ids` are those of
/// `triggers`.
pub async fn replace(
    connection: &mut PgConnection,
    deployment: DeploymentId,
    triggers: &[NewTrigger],
    ids: &[TriggerId],
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM event_listeners l USING triggers t \
         WHERE t.id = l.trigger_id AND t.deployment_id = $1",
    )
    .bind(deployment.to_string())
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    let (types, ids): (Vec<&str>, Vec<String>) = triggers
        .iter()
        .zip(ids)
        .filter_map(|(trigger, id)| Some((trigger.event_type.as_deref()?, id.to_string())))
        .unzip();
    if types.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO event_listeners (event_type, trigger_id) \
         SELECT * FROM unnest($1::text[], $2::text[])",
    )
    .bind(types)
    .bind(ids)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}
