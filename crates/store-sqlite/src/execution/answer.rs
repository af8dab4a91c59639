//! Answers to messages, kept beside their dedupe keys. Whose answer it is
//! stands with it: a key that has run out is taken over as it is.

use bytes::Bytes;
use millrace_store::{AnswerKey, StoreError};

use crate::SqliteStore;
use crate::error::store_error;

const KEPT: &str = "SELECT answer FROM dedupe
     WHERE deployment_id = ?1 AND key = ?2 AND execution_id = ?3 AND answer_of = ?3";

const KEEP: &str = "UPDATE dedupe SET answer = ?4, answer_of = ?3
     WHERE deployment_id = ?1 AND key = ?2 AND execution_id = ?3 AND answer_of IS NOT ?3";

impl SqliteStore {
    pub(crate) async fn first_answer_of(
        &self,
        key: &AnswerKey,
        made: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        let (deployment, execution) = (key.deployment_id.to_string(), key.execution_id.to_string());
        if let Some(made) = made {
            let (mut transaction, _) = self.write().await?;
            let kept = sqlx::query(KEEP)
                .bind(&deployment)
                .bind(&key.key)
                .bind(&execution)
                .bind(&made[..])
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
            transaction.commit().await.map_err(store_error)?;
            if kept.rows_affected() > 0 {
                return Ok(Some(made));
            }
        }
        let kept: Option<Vec<u8>> = sqlx::query_scalar(KEPT)
            .bind(&deployment)
            .bind(&key.key)
            .bind(&execution)
            .fetch_optional(&self.readers)
            .await
            .map_err(store_error)?
            .flatten();
        Ok(kept.map(Bytes::from))
    }
}
