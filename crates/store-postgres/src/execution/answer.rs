//! Answers to messages, kept beside their dedupe keys. Whose answer it is
//! stands with it: a key that has run out is taken over as it is.

use bytes::Bytes;
use millrace_store::{AnswerKey, StoreError};

use crate::PostgresStore;
use crate::error::store_error;

const KEPT: &str = "SELECT answer FROM dedupe \
     WHERE deployment_id = $1 AND key = $2 AND execution_id = $3 AND answer_of = $3";

const KEEP: &str = "UPDATE dedupe SET answer = $4, answer_of = $3 \
     WHERE deployment_id = $1 AND key = $2 AND execution_id = $3 \
       AND answer_of IS DISTINCT FROM $3";

pub(super) async fn first(
    store: &PostgresStore,
    key: &AnswerKey,
    made: Option<Bytes>,
) -> Result<Option<Bytes>, StoreError> {
    if let Some(made) = made {
        // Of two at once the second waits, and finds what the first kept.
        let kept = sqlx::query(KEEP)
            .bind(key.deployment_id.to_string())
            .bind(&key.key)
            .bind(key.execution_id.to_string())
            .bind(&made[..])
            .execute(&store.pool)
            .await
            .map_err(store_error)?;
        if kept.rows_affected() > 0 {
            return Ok(Some(made));
        }
    }
    let kept: Option<Vec<u8>> = sqlx::query_scalar(KEPT)
        .bind(key.deployment_id.to_string())
        .bind(&key.key)
        .bind(key.execution_id.to_string())
        .fetch_optional(&store.pool)
        .await
        .map_err(store_error)?
        .flatten();
    Ok(kept.map(Bytes::from))
}
