//! The ledger.

use millrace_store::schedule::fires_before;
use millrace_store::{
    DriftRecord, FireFilter, FireOutcome, FireRecord, Page, PageRequest, StoreError,
};
use millrace_types::TriggerId;
use sqlx::{FromRow, QueryBuilder};

use crate::PostgresStore;
use crate::convert::{counter, parsed, parsed_option};
use crate::error::store_error;
use crate::time::PgTime;

/// A row of the ledger.
#[derive(FromRow)]
pub(super) struct Row {
    trigger_id: String,
    nominal_at: PgTime,
    until_at: PgTime,
    count: i64,
    effective_at: PgTime,
    decided_at: PgTime,
    outcome: String,
    reason: String,
    execution_id: Option<String>,
    waiting: bool,
    backfilled: bool,
}

impl Row {
    pub(super) fn record(self) -> Result<FireRecord, StoreError> {
        Ok(FireRecord {
            trigger_id: parsed(&self.trigger_id)?,
            nominal_at: self.nominal_at.0,
            until_at: self.until_at.0,
            count: counter(self.count),
            effective_at: self.effective_at.0,
            decided_at: self.decided_at.0,
            outcome: parsed::<FireOutcome>(&self.outcome)?.or_waiting(self.waiting),
            reason: self.reason,
            execution_id: parsed_option(self.execution_id.as_deref())?,
            backfilled: self.backfilled,
        })
    }
}

pub(super) async fn page(
    store: &PostgresStore,
    id: TriggerId,
    filter: &FireFilter,
    page: &PageRequest,
) -> Result<Page<FireRecord>, StoreError> {
    let mut query = QueryBuilder::new(
        "SELECT trigger_id, nominal_at, until_at, count, effective_at, decided_at, outcome, \
             reason, execution_id, waiting, backfilled \
         FROM fires WHERE trigger_id = ",
    );
    query.push_bind(id.to_string());
    if let Some(from) = filter.from {
        query
            .push(" AND until_at >= ")
            .push_bind(PgTime(from))
            // Leaves out the partitions of the days before.
            .push(" AND day >= (")
            .push_bind(PgTime(from))
            .push("::timestamptz AT TIME ZONE 'UTC')::date");
    }
    if let Some(to) = filter.to {
        query.push(" AND nominal_at < ").push_bind(PgTime(to));
    }
    if let Some(before) = fires_before(page)? {
        query.push(" AND nominal_at < ").push_bind(PgTime(before));
    }
    query
        .push(" ORDER BY nominal_at DESC LIMIT ")
        .push_bind(i64::from(page.limit) + 1);
    let rows: Vec<Row> = query
        .build_query_as()
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
    let records = rows
        .into_iter()
        .map(Row::record)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::from_rows(records, page.limit, |fire| {
        fire.nominal_at.as_micros().to_string()
    }))
}

pub(super) async fn drifting(
    store: &PostgresStore,
    limit: u32,
) -> Result<Vec<DriftRecord>, StoreError> {
    let rows: Vec<(String, String, PgTime, PgTime, i64)> = sqlx::query_as(
        "SELECT trigger_id, deployment_id, last_effective, last_started, drift FROM schedules \
         WHERE drift IS NOT NULL AND last_effective IS NOT NULL AND last_started IS NOT NULL \
         ORDER BY trigger_id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|(trigger, deployment, effective, started, drift)| {
            Ok(DriftRecord {
                trigger_id: parsed(&trigger)?,
                deployment_id: parsed(&deployment)?,
                effective_at: effective.0,
                started_at: started.0,
                drift,
            })
        })
        .collect()
}
