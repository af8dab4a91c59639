//! Events: who listens to them, and those that are left to be published.

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::{
    EmittedEvent, EventListener, EventStore, Gathered, Gathering, NewTrigger, StoreError,
    Subscription, SubscriptionPlace,
};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::convert::{counter, parsed};
use crate::deployment::read::TriggerRow;
use crate::error::store_error;
use crate::gather;
use crate::incarnation::micros;

#[async_trait]
impl EventStore for PostgresStore {
    async fn event_listeners(
        &self,
        event_type: &str,
        after: Option<TriggerId>,
        limit: u32,
    ) -> Result<Vec<EventListener>, StoreError> {
        self.bounded(find(self, event_type, after, limit)).await
    }

    async fn subscriptions(
        &self,
        event_type: &str,
        after: Option<SubscriptionPlace>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        self.bounded(subscriptions(self, event_type, after, limit))
            .await
    }

    async fn unpublished(
        &self,
        older_than: Duration,
        hold: Duration,
        limit: u32,
    ) -> Result<Vec<EmittedEvent>, StoreError> {
        self.bounded(unpublished(self, older_than, hold, limit))
            .await
    }

    async fn gather(&self, gathering: &Gathering) -> Result<Gathered, StoreError> {
        self.bounded(gather::gather(self, gathering)).await
    }
}

async fn unpublished(
    store: &PostgresStore,
    older_than: Duration,
    hold: Duration,
    limit: u32,
) -> Result<Vec<EmittedEvent>, StoreError> {
    // The time of the statement: a bound that an index can be searched by.
    let rows: Vec<(String, Option<String>, Vec<u8>)> = sqlx::query_as(
        "WITH left_behind AS ( \
             SELECT id FROM emitted_events \
             WHERE emitted_at <= statement_timestamp() - $1 * interval '1 microsecond' \
                 AND (held_until IS NULL OR held_until <= statement_timestamp()) \
             ORDER BY emitted_at, id LIMIT $3 FOR UPDATE SKIP LOCKED \
         ), held AS ( \
             UPDATE emitted_events e \
             SET held_until = statement_timestamp() + $2 * interval '1 microsecond' \
             FROM left_behind l WHERE e.id = l.id \
             RETURNING e.id, e.emitted_at, e.traceparent, e.event \
         ) SELECT id, traceparent, event FROM held ORDER BY emitted_at, id",
    )
    .bind(micros(older_than))
    .bind(micros(hold))
    .bind(i64::from(limit))
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(id, traceparent, event)| EmittedEvent {
            id,
            traceparent,
            event: event.into(),
        })
        .collect())
}

async fn subscriptions(
    store: &PostgresStore,
    event_type: &str,
    after: Option<SubscriptionPlace>,
    limit: u32,
) -> Result<Vec<Subscription>, StoreError> {
    let after = after.map(|place| {
        (
            place.execution_id.to_string(),
            place.listener.cast_signed(),
            i32::try_from(place.position).unwrap_or(i32::MAX),
        )
    });
    // Before all others.
    let (execution, listener, position) = after.unwrap_or((String::new(), i64::MIN, -1));
    let rows: Vec<(String, i64, i32, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT s.execution_id, s.listener_id, s.position, l.since, s.filter \
         FROM execution_subscriptions s \
         JOIN execution_listeners l ON l.execution_id = s.execution_id AND l.id = s.listener_id \
         WHERE s.event_type = $1 AND (s.execution_id, s.listener_id, s.position) > ($2, $3, $4) \
         ORDER BY s.execution_id, s.listener_id, s.position LIMIT $5",
    )
    .bind(event_type)
    .bind(execution)
    .bind(listener)
    .bind(position)
    .bind(i64::from(limit))
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|(execution, listener, position, since, filter)| {
            Ok(Subscription {
                place: SubscriptionPlace {
                    execution_id: parsed(&execution)?,
                    listener: listener.cast_unsigned(),
                    position: position.cast_unsigned(),
                },
                since: counter(since),
                filter: filter.into(),
            })
        })
        .collect()
}

async fn find(
    store: &PostgresStore,
    event_type: &str,
    after: Option<TriggerId>,
    limit: u32,
) -> Result<Vec<EventListener>, StoreError> {
    let rows: Vec<TriggerRow> = sqlx::query_as(
        "SELECT t.deployment_id, t.id, t.kind, t.name, t.enabled, t.spec, t.revision \
         FROM event_listeners l \
         JOIN triggers t ON t.id = l.trigger_id \
         JOIN workflows w ON w.deployment_id = t.deployment_id \
         WHERE l.event_type IN ($1, '') AND l.trigger_id > $2 \
             AND t.enabled AND w.deployment_status = 'DEPLOYED' \
         ORDER BY l.trigger_id LIMIT $3",
    )
    .bind(event_type)
    .bind(after.map_or_else(String::new, |id| id.to_string()))
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
