//! Schedules for figures and forecasts: all of them while they are few, a
//! random sample when they are many.

use millrace_store::{Sample, ScheduleRecord, StoreError};
use millrace_types::Timestamp;

use super::claim::{READ, record};
use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

const SOONEST: &str = "
    SELECT trigger_id FROM schedules WHERE due_at IS NOT NULL AND due_at < ?1
    ORDER BY due_at, trigger_id LIMIT ?2";

const SPAN: &str = "
    SELECT coalesce((SELECT rowid FROM schedules ORDER BY rowid LIMIT 1), 0) AS first,
        coalesce((SELECT rowid FROM schedules ORDER BY rowid DESC LIMIT 1), 0) AS last";

/// Draws places between the first row and the last, and takes the row at each
/// place or after it.
const DRAW: &str = "
    WITH RECURSIVE places(n, place) AS (
        SELECT 1, ?1 + abs(random() % ?2)
        UNION ALL SELECT n + 1, ?1 + abs(random() % ?2) FROM places WHERE n < ?3)
    SELECT trigger_id, due_at < ?4 AS wanted FROM schedules WHERE rowid IN (
        SELECT (SELECT s.rowid FROM schedules s WHERE s.rowid >= place ORDER BY s.rowid LIMIT 1)
        FROM places)";

impl SqliteStore {
    pub(crate) async fn schedules_sample(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Sample<ScheduleRecord>, StoreError> {
        let before = before.map_or(i64::MAX, Timestamp::as_micros);
        let mut connection = self.read().await?;
        let mut ids: Vec<String> = sqlx::query_scalar(SOONEST)
            .bind(before)
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let mut estimate = None;
        if ids.len() > limit as usize {
            let span = sqlx::query(SPAN)
                .fetch_one(&mut *connection)
                .await
                .map_err(store_error)?;
            let (first, last): (i64, i64) = (span.raw("first")?, span.raw("last")?);
            let rows = sqlx::query(DRAW)
                .bind(first)
                .bind((last - first + 1).max(1))
                .bind(i64::from(limit))
                .bind(before)
                .fetch_all(&mut *connection)
                .await
                .map_err(store_error)?;
            let drawn = rows.len().max(1) as u64;
            ids.clear();
            for row in &rows {
                if row.raw::<Option<bool>>("wanted")?.unwrap_or(false) {
                    ids.push(row.raw("trigger_id")?);
                }
            }
            let all = u64::try_from(last - first + 1).unwrap_or(0);
            let about = u128::from(all) * ids.len() as u128 / u128::from(drawn);
            let about = u64::try_from(about).unwrap_or(u64::MAX);
            estimate = Some(about.max(u64::from(limit) + 1));
        }
        let rows = sqlx::query(READ)
            .bind(json(&ids))
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let items = rows.iter().map(record).collect::<Result<_, _>>()?;
        Ok(Sample { items, estimate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn the_soonest_are_found_by_their_index() {
        assert_searches(&[SOONEST]).await;
    }
}
