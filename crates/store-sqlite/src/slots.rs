//! Slots of concurrency: who holds one has its number in its own row, which
//! goes with the end. A unique index keeps two from holding the same.

use std::collections::BTreeSet;

use millrace_store::{Concurrency, QueuePlace, StoreError};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::store_error;
use crate::rows::json;

/// When one is due that queues and has no deadline.
pub const NEVER: i64 = i64::MAX;

/// Slots given out to one queue at once, and executions that leave a queue
/// whose limit was lifted.
const BATCH: i64 = 500;

/// Queues that one look goes through.
const QUEUES: usize = 100;

const QUEUED: &str = "
    SELECT id FROM executions
    WHERE deployment_id = ?1 AND slot_key = ?2 AND slot IS NULL AND owner IS NULL
        AND cancel_reason IS NULL
    ORDER BY id LIMIT ?3";

const USED: &str = "
    SELECT slot FROM executions WHERE deployment_id = ?1 AND slot_key = ?2 AND slot IS NOT NULL";

const GIVE: &str = "
    UPDATE executions SET slot = r.value ->> 1, wake_at = ?2
    FROM json_each(?1) r
    WHERE executions.id = r.value ->> 0";

const LEAVE: &str = "
    UPDATE executions SET slot_key = NULL, wake_at = ?2
    WHERE id IN (SELECT value FROM json_each(?1))";

const LIMIT: &str = "SELECT concurrency FROM workflows WHERE deployment_id = ?1";

const NEXT_QUEUE: &str = "
    SELECT deployment_id, slot_key FROM executions
    WHERE slot_key IS NOT NULL AND slot IS NULL AND (deployment_id, slot_key) > (?1, ?2)
    ORDER BY deployment_id, slot_key LIMIT 1";

/// Gives the free slots to the first that wait; without a limit, all may go.
/// Answers how many are due now.
pub async fn give(
    connection: &mut SqliteConnection,
    (deployment, key): (&str, &str),
    limit: Option<u32>,
    now: i64,
) -> Result<u64, StoreError> {
    let queued: Vec<String> = sqlx::query_scalar(QUEUED)
        .bind(deployment)
        .bind(key)
        .bind(limit.map_or(BATCH, |limit| BATCH.min(i64::from(limit))))
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    if queued.is_empty() {
        return Ok(0);
    }
    let Some(limit) = limit else {
        sqlx::query(LEAVE)
            .bind(json(&queued))
            .bind(now)
            .execute(connection)
            .await
            .map_err(store_error)?;
        return Ok(queued.len() as u64);
    };
    let used: Vec<u32> = sqlx::query_scalar(USED)
        .bind(deployment)
        .bind(key)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let used = BTreeSet::from_iter(used);
    let room = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(used.len());
    let free = (1..=limit).filter(|slot| !used.contains(slot)).take(room);
    let given: Vec<(String, u32)> = queued.into_iter().zip(free).collect();
    if !given.is_empty() {
        sqlx::query(GIVE)
            .bind(json(&given))
            .bind(now)
            .execute(connection)
            .await
            .map_err(store_error)?;
    }
    Ok(given.len() as u64)
}

/// Hands out what is free in these queues.
pub async fn fill(
    connection: &mut SqliteConnection,
    places: impl IntoIterator<Item = &(String, String)>,
    now: i64,
) -> Result<u64, StoreError> {
    let mut due = 0;
    for (deployment, key) in places {
        let limit: Option<Vec<u8>> = sqlx::query_scalar(LIMIT)
            .bind(deployment)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?
            .flatten();
        let limit = limit.as_deref().map(Concurrency::from_json).transpose()?;
        let limit = limit.map(|limit| limit.limit);
        due += give(connection, (deployment, key), limit, now).await?;
    }
    Ok(due)
}

impl SqliteStore {
    /// Goes through the queues that there are, a bounded number at a time.
    pub(crate) async fn fill_queues(
        &self,
        after: Option<&QueuePlace>,
    ) -> Result<(u64, Option<QueuePlace>), StoreError> {
        let mut at = after.map_or_else(Default::default, |(deployment, key)| {
            (deployment.to_string(), key.clone())
        });
        let mut reader = self.read().await?;
        let mut places: Vec<(String, String)> = Vec::new();
        while places.len() < QUEUES {
            let next: Option<(String, String)> = sqlx::query_as(NEXT_QUEUE)
                .bind(&at.0)
                .bind(&at.1)
                .fetch_optional(&mut *reader)
                .await
                .map_err(store_error)?;
            let Some(next) = next else { break };
            places.push(next.clone());
            at = next;
        }
        drop(reader);
        if places.is_empty() {
            return Ok((0, None));
        }
        let (mut transaction, now) = self.write().await?;
        let due = fill(&mut transaction, &places, now).await?;
        transaction.commit().await.map_err(store_error)?;
        let next = if places.len() == QUEUES {
            let (deployment, key) = at;
            let deployment = deployment
                .parse()
                .map_err(|_| crate::error::corrupt("executions.deployment_id", &deployment))?;
            Some((deployment, key))
        } else {
            None
        };
        Ok((due, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn slots_are_found_through_their_indexes() {
        assert_searches(&[QUEUED, USED, GIVE, LEAVE, LIMIT, NEXT_QUEUE]).await;
        for statement in [QUEUED, NEXT_QUEUE] {
            let steps = plan(statement).await;
            assert!(steps[0].contains("executions_queue_idx"), "{steps:#?}");
        }
        let used = plan(USED).await;
        assert!(used[0].contains("executions_slot_idx"), "{used:#?}");
    }
}
