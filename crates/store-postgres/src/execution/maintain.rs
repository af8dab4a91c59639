//! Retention, in bounded steps.

use millrace_store::StoreError;
use millrace_store::maintenance::all_parts;

use crate::PostgresStore;
use crate::error::store_error;
use crate::gather;

/// Dedupe rows, and gathered events, deleted in one transaction.
const BATCH: i64 = 5_000;

pub(super) async fn maintain(store: &PostgresStore) -> Result<bool, StoreError> {
    // Each within a time of its own.
    let made = store.bounded(store.make_partitions(None)).await;
    all_parts([
        made.map(|_| false),
        store.bounded(store.let_steps_go()).await,
        store.bounded(store.drop_partitions()).await,
        store.bounded(store.drop_fires()).await,
        store.bounded(delete_expired_keys(store)).await,
        store.bounded(gather::expire(store, BATCH)).await,
    ])
}

async fn delete_expired_keys(store: &PostgresStore) -> Result<bool, StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM dedupe d USING ( \
             SELECT deployment_id, key FROM dedupe WHERE expires_at <= now() \
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) x \
         WHERE d.deployment_id = x.deployment_id AND d.key = x.key",
    )
    .bind(BATCH)
    .execute(&store.pool)
    .await
    .map_err(store_error)?
    .rows_affected();
    Ok(deleted == BATCH.cast_unsigned())
}
