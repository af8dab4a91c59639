//! Which executions a claim takes when more is due than it may.

use std::sync::{Mutex, PoisonError};

use millrace_store::StoreError;
use millrace_store::fair::{Due, LOOKED_AT, Turn, choose as share, depth};
use sqlx::SqliteConnection;

use crate::error::store_error;

/// Deployments that have unowned executions, and when the first one of each
/// is due. Each costs a probe of the index, however many it has.
const HEADS: &str = "
    WITH RECURSIVE heads (deployment_id) AS (
        SELECT (SELECT e.deployment_id FROM executions e
                WHERE e.owner IS NULL AND e.deployment_id > ?1
                ORDER BY e.deployment_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.deployment_id FROM executions e
                WHERE e.owner IS NULL AND e.deployment_id > h.deployment_id
                ORDER BY e.deployment_id LIMIT 1)
        FROM heads h WHERE h.deployment_id IS NOT NULL
        LIMIT ?2)
    SELECT h.deployment_id,
        (SELECT e.wake_at FROM executions e
         WHERE e.owner IS NULL AND e.deployment_id = h.deployment_id
         ORDER BY e.wake_at, e.id LIMIT 1) <= ?3
    FROM heads h WHERE h.deployment_id IS NOT NULL";

const CANDIDATES: &str = "
    SELECT id FROM executions
    WHERE owner IS NULL AND deployment_id = ?1 AND wake_at <= ?2
    ORDER BY wake_at, id LIMIT ?3";

const PRIORITY: &str = "SELECT priority FROM workflows WHERE deployment_id = ?1";

/// Goes on from the deployment that was served last.
pub async fn choose(
    connection: &mut SqliteConnection,
    turn: &Mutex<Turn>,
    limit: usize,
    now: i64,
) -> Result<Vec<String>, StoreError> {
    let (last, round) = {
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        (turn.last.clone(), turn.round(limit))
    };
    let mut looked = heads(connection, &last, LOOKED_AT, now).await?;
    let left = LOOKED_AT.saturating_sub(u32::try_from(looked.len()).unwrap_or(u32::MAX));
    if left > 0 && !last.is_empty() {
        let before = heads(connection, "", left, now).await?;
        looked.extend(before.into_iter().filter(|(id, _)| *id <= last));
    }
    let due: Vec<&String> = (looked.iter())
        .filter_map(|(deployment, due)| due.then_some(deployment))
        .collect();
    let served = due.get(round.wrapping_sub(1)).copied();
    let served = served.or(looked.last().map(|(deployment, _)| deployment));
    if round > 0
        && let Some(served) = served
    {
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.last.clone_from(served);
    }
    let depth = i64::try_from(depth(limit, due.len())).unwrap_or(i64::MAX);
    let mut all = Vec::with_capacity(due.len());
    for deployment in due {
        let priority: Option<i16> = sqlx::query_scalar(PRIORITY)
            .bind(deployment)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        let candidates = sqlx::query_scalar(CANDIDATES)
            .bind(deployment)
            .bind(now)
            .bind(depth)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        all.push(Due {
            priority: priority.unwrap_or(0),
            candidates,
        });
    }
    Ok(share(&all, limit, round))
}

async fn heads(
    connection: &mut SqliteConnection,
    after: &str,
    limit: u32,
    now: i64,
) -> Result<Vec<(String, bool)>, StoreError> {
    sqlx::query_as(HEADS)
        .bind(after)
        .bind(limit)
        .bind(now)
        .fetch_all(connection)
        .await
        .map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn a_flood_is_not_gone_through() {
        assert_searches(&[CANDIDATES, PRIORITY]).await;
        let candidates = plan(CANDIDATES).await;
        assert_eq!(candidates.len(), 1, "{candidates:#?}");
        assert!(
            candidates[0].contains("executions_due_by_deployment_idx"),
            "{candidates:#?}"
        );
        for step in plan(HEADS).await {
            let bounded = !step.contains(" e ")
                || (step.starts_with("SEARCH e")
                    && step.contains("executions_due_by_deployment_idx"));
            assert!(bounded && !step.contains("TEMP B-TREE"), "{step}");
        }
    }
}
