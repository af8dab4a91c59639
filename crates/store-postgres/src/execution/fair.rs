//! Which executions a claim takes when more is due than it may.

use std::sync::{Mutex, PoisonError};

use millrace_store::StoreError;
use millrace_store::fair::{Due, LOOKED_AT, Turn, choose as share, depth};
use sqlx::PgConnection;

use crate::error::store_error;

pub(super) async fn more_is_due(
    connection: &mut PgConnection,
    limit: u32,
) -> Result<bool, StoreError> {
    let due: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM ( \
             SELECT FROM executions WHERE owner IS NULL AND wake_at <= statement_timestamp() \
             ORDER BY wake_at LIMIT $1) x",
    )
    .bind(i64::from(limit) + 1)
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(due > i64::from(limit))
}

/// Goes on from the deployment that was served last.
pub(super) async fn choose(
    connection: &mut PgConnection,
    turn: &Mutex<Turn>,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (last, round) = {
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        (turn.last.clone(), turn.round(limit))
    };
    let mut looked = heads(connection, &last, None, LOOKED_AT).await?;
    let left = LOOKED_AT.saturating_sub(u32::try_from(looked.len()).unwrap_or(u32::MAX));
    if left > 0 && !last.is_empty() {
        looked.extend(heads(connection, "", Some(&last), left).await?);
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
    let candidates = candidates(connection, &due, depth(limit, due.len())).await?;
    Ok(share(&candidates, limit, round))
}

/// Up to `limit` deployments after `after` that have unowned executions, and
/// whether one is due. Each costs one probe of the index, however many it has.
async fn heads(
    connection: &mut PgConnection,
    after: &str,
    up_to: Option<&str>,
    limit: u32,
) -> Result<Vec<(String, bool)>, StoreError> {
    sqlx::query_as(
        "WITH RECURSIVE heads AS ( \
             (SELECT deployment_id, wake_at FROM executions \
              WHERE owner IS NULL AND deployment_id > $1 \
              ORDER BY deployment_id, wake_at, id LIMIT 1) \
             UNION ALL \
             SELECT n.deployment_id, n.wake_at FROM heads h CROSS JOIN LATERAL ( \
                 SELECT e.deployment_id, e.wake_at FROM executions e \
                 WHERE e.owner IS NULL AND e.deployment_id > h.deployment_id \
                 ORDER BY e.deployment_id, e.wake_at, e.id LIMIT 1) n) \
         SELECT deployment_id, wake_at <= statement_timestamp() FROM ( \
             SELECT * FROM heads LIMIT $3) x \
         WHERE $2::text IS NULL OR deployment_id <= $2",
    )
    .bind(after)
    .bind(up_to)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

async fn candidates(
    connection: &mut PgConnection,
    due: &[&String],
    depth: usize,
) -> Result<Vec<Due<String>>, StoreError> {
    let rows: Vec<(i64, i16, String)> = sqlx::query_as(
        "SELECT d.ord, coalesce(w.priority, 0::smallint), c.id \
         FROM unnest($1::text[]) WITH ORDINALITY AS d(deployment_id, ord) \
         LEFT JOIN workflows w ON w.deployment_id = d.deployment_id \
         CROSS JOIN LATERAL ( \
             SELECT e.id, e.wake_at FROM executions e \
             WHERE e.owner IS NULL AND e.deployment_id = d.deployment_id \
               AND e.wake_at <= statement_timestamp() \
             ORDER BY e.wake_at, e.id LIMIT $2) c \
         ORDER BY d.ord, c.wake_at, c.id",
    )
    .bind(due)
    .bind(i64::try_from(depth).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut all: Vec<(i64, Due<String>)> = Vec::new();
    for (ord, priority, id) in rows {
        match all.last_mut() {
            Some((last, due)) if *last == ord => due.candidates.push(id),
            _ => all.push((
                ord,
                Due {
                    priority,
                    candidates: vec![id],
                },
            )),
        }
    }
    Ok(all.into_iter().map(|(_, due)| due).collect())
}
