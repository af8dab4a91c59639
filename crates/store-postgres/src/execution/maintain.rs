//! Retention, in bounded steps.

use millrace_store::StoreError;

use crate::PostgresStore;
use crate::error::store_error;

/// Dedupe rows deleted in one transaction.
const DEDUPE_BATCH: i64 = 5_000;

pub(super) async fn maintain(store: &PostgresStore) -> Result<bool, StoreError> {
    store.make_partitions(None).await?;
    let more_steps = store.let_steps_go().await?;
    let more_partitions = store.drop_partitions().await?;
    let deleted = sqlx::query(
        "DELETE FROM dedupe d USING ( \
             SELECT deployment_id, key FROM dedupe WHERE expires_at <= now() \
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) x \
         WHERE d.deployment_id = x.deployment_id AND d.key = x.key",
    )
    .bind(DEDUPE_BATCH)
    .execute(&store.pool)
    .await
    .map_err(store_error)?
    .rows_affected();
    Ok(more_steps || more_partitions || deleted == DEDUPE_BATCH.cast_unsigned())
}
