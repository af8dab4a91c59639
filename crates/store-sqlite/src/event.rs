//! Events: who listens to them, and those that are left to be published.

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::{
    EmittedEvent, EventListener, EventStore, Gathered, Gathering, NewTrigger, StoreError,
    Subscription, SubscriptionPlace,
};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::deployment::record::trigger;
use crate::error::store_error;
use crate::gather;
use crate::incarnation::micros;
use crate::row::Columns;
use crate::rows::json;

const LISTENERS: &str = "
    SELECT t.deployment_id, t.id, t.kind, t.name, t.enabled, t.spec, t.revision
    FROM event_listeners l
    JOIN triggers t ON t.id = l.trigger_id
    JOIN workflows w ON w.deployment_id = t.deployment_id
    WHERE l.event_type IN (?1, '') AND l.trigger_id > ?2
        AND t.enabled AND w.deployment_status = 'DEPLOYED'
    ORDER BY l.trigger_id LIMIT ?3";

const SUBSCRIPTIONS: &str = "
    SELECT s.execution_id, s.listener_id, s.position, l.since, s.filter
    FROM execution_subscriptions s
    CROSS JOIN execution_listeners l ON l.execution_id = s.execution_id AND l.id = s.listener_id
    WHERE s.event_type = ?1 AND (s.execution_id, s.listener_id, s.position) > (?2, ?3, ?4)
    ORDER BY s.execution_id, s.listener_id, s.position LIMIT ?5";

const UNPUBLISHED: &str = "
    SELECT id, traceparent, event FROM emitted_events
    WHERE emitted_at <= ?1 AND (held_until IS NULL OR held_until <= ?2)
    ORDER BY emitted_at, id LIMIT ?3";

const HOLD: &str = "
    UPDATE emitted_events SET held_until = ?2
    WHERE id IN (SELECT value FROM json_each(?1))";

#[async_trait]
impl EventStore for SqliteStore {
    async fn event_listeners(
        &self,
        event_type: &str,
        after: Option<TriggerId>,
        limit: u32,
    ) -> Result<Vec<EventListener>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(LISTENERS)
            .bind(event_type)
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(limit)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(EventListener {
                    deployment_id: row.parsed("deployment_id")?,
                    trigger: trigger(row)?,
                })
            })
            .collect()
    }

    async fn subscriptions(
        &self,
        event_type: &str,
        after: Option<SubscriptionPlace>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let after = after.map(|place| {
            let listener = place.listener.cast_signed();
            (
                place.execution_id.to_string(),
                listener,
                i64::from(place.position),
            )
        });
        // Before all others.
        let (execution, listener, position) = after.unwrap_or((String::new(), i64::MIN, -1));
        let mut connection = self.read().await?;
        let rows = sqlx::query(SUBSCRIPTIONS)
            .bind(event_type)
            .bind(execution)
            .bind(listener)
            .bind(position)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(Subscription {
                    place: SubscriptionPlace {
                        execution_id: row.parsed("execution_id")?,
                        listener: row.raw::<i64>("listener_id")?.cast_unsigned(),
                        position: row.number("position")?,
                    },
                    since: row.number("since")?,
                    filter: row.bytes("filter")?,
                })
            })
            .collect()
    }

    async fn unpublished(
        &self,
        older_than: Duration,
        hold: Duration,
        limit: u32,
    ) -> Result<Vec<EmittedEvent>, StoreError> {
        // Most looks find nothing: they do not take the write lock.
        let mut reader = self.read().await?;
        let now = self.now().as_micros();
        if left(&mut reader, now, older_than, 1).await?.is_empty() {
            return Ok(Vec::new());
        }
        drop(reader);
        let (mut transaction, now) = self.write().await?;
        let events = left(&mut transaction, now, older_than, limit).await?;
        let ids: Vec<&str> = events.iter().map(|event| &*event.id).collect();
        sqlx::query(HOLD)
            .bind(json(&ids))
            .bind(now.saturating_add(micros(hold)))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(events)
    }

    async fn gather(&self, gathering: &Gathering) -> Result<Gathered, StoreError> {
        gather::gather(self, gathering).await
    }
}

/// Events that are left, and that nobody holds.
async fn left(
    connection: &mut SqliteConnection,
    now: i64,
    older_than: Duration,
    limit: u32,
) -> Result<Vec<EmittedEvent>, StoreError> {
    let rows = sqlx::query(UNPUBLISHED)
        .bind(now.saturating_sub(micros(older_than)))
        .bind(now)
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(EmittedEvent {
                id: row.raw("id")?,
                traceparent: row.raw("traceparent")?,
                event: row.bytes("event")?,
            })
        })
        .collect()
}

/// Forgets what the deployment's triggers listen to.
pub async fn forget(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM event_listeners
         WHERE trigger_id IN (SELECT id FROM triggers WHERE deployment_id = ?1)",
    )
    .bind(deployment.to_string())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Notes what a trigger listens to.
pub async fn note(
    connection: &mut SqliteConnection,
    id: TriggerId,
    new: &NewTrigger,
) -> Result<(), StoreError> {
    let Some(event_type) = &new.event_type else {
        return Ok(());
    };
    sqlx::query("INSERT INTO event_listeners (event_type, trigger_id) VALUES (?1, ?2)")
        .bind(event_type)
        .bind(id.to_string())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn events_are_looked_up_by_their_type() {
        assert_searches(&[LISTENERS, SUBSCRIPTIONS, UNPUBLISHED, HOLD]).await;
    }
}
