//! The ledger.

use millrace_store::schedule::fires_before;
use millrace_store::{
    DriftRecord, FireFilter, FireOutcome, FireRecord, LEDGER_DAYS, Page, PageRequest, StoreError,
};
use millrace_types::TriggerId;
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

/// Rows of the ledger that one step deletes at most.
const STEP: i64 = 2000;

/// A row of the ledger.
pub(super) fn record(row: &SqliteRow) -> Result<FireRecord, StoreError> {
    Ok(FireRecord {
        trigger_id: row.parsed("trigger_id")?,
        nominal_at: row.time("nominal_at")?,
        until_at: row.time("until_at")?,
        count: row.number("count")?,
        effective_at: row.time("effective_at")?,
        decided_at: row.time("decided_at")?,
        outcome: row
            .parsed::<FireOutcome>("outcome")?
            .or_waiting(row.raw("waiting")?),
        reason: row.raw("reason")?,
        execution_id: row.parsed_option("execution_id")?,
        backfilled: row.raw("backfilled")?,
    })
}

impl SqliteStore {
    pub(super) async fn fires_page(
        &self,
        id: TriggerId,
        filter: &FireFilter,
        page: &PageRequest,
    ) -> Result<Page<FireRecord>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT trigger_id, nominal_at, until_at, count, effective_at, decided_at, outcome,
                 reason, execution_id, waiting, backfilled
             FROM fires WHERE trigger_id = ",
        );
        query.push_bind(id.to_string());
        if let Some(from) = filter.from {
            query.push(" AND until_at >= ").push_bind(from.as_micros());
        }
        if let Some(to) = filter.to {
            query.push(" AND nominal_at < ").push_bind(to.as_micros());
        }
        if let Some(before) = fires_before(page)? {
            query
                .push(" AND nominal_at < ")
                .push_bind(before.as_micros());
        }
        query
            .push(" ORDER BY nominal_at DESC LIMIT ")
            .push_bind(i64::from(page.limit) + 1);
        let mut connection = self.read().await?;
        let rows = query
            .build()
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_rows(records, page.limit, |fire| {
            fire.nominal_at.as_micros().to_string()
        }))
    }

    pub(super) async fn drifting_schedules(
        &self,
        limit: u32,
    ) -> Result<Vec<DriftRecord>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT trigger_id, deployment_id, last_effective, last_started, drift FROM schedules
             WHERE drift IS NOT NULL AND last_effective IS NOT NULL AND last_started IS NOT NULL
             ORDER BY trigger_id LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(DriftRecord {
                    trigger_id: row.parsed("trigger_id")?,
                    deployment_id: row.parsed("deployment_id")?,
                    effective_at: row.time("last_effective")?,
                    started_at: row.time("last_started")?,
                    drift: row.raw("drift")?,
                })
            })
            .collect()
    }

    /// Deletes what retention lets go; answers whether more is left.
    pub(crate) async fn delete_old_fires(&self) -> Result<bool, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let today = millrace_types::Timestamp::from_micros(now).day();
        let done = sqlx::query(
            "DELETE FROM fires WHERE (trigger_id, nominal_at) IN (
                 SELECT trigger_id, nominal_at FROM fires WHERE day < ?1 LIMIT ?2)",
        )
        .bind(today - LEDGER_DAYS)
        .bind(STEP)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() >= STEP.unsigned_abs())
    }
}
