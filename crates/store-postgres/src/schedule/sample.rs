//! Schedules for figures and forecasts: all of them while they are few, a
//! random sample when they are many.

use millrace_store::{Sample, ScheduleRecord, StoreError};
use millrace_types::Timestamp;
use sqlx::{Postgres, QueryBuilder};

use super::claim::Row;
use crate::PostgresStore;
use crate::error::store_error;
use crate::time::PgTime;

const COLUMNS: &str = "
    SELECT s.trigger_id, t.kind, s.deployment_id, w.workflow_id, w.deployment_status, s.spec,
        s.anchor_at, s.decided_to, s.resumed_at, s.next_nominal, s.next_effective,
        s.last_execution, s.step, s.catch_up_to,
        statement_timestamp() AS now
    FROM (SELECT * FROM schedules ";

const JOINS: &str = ") s JOIN triggers t ON t.id = s.trigger_id
    JOIN workflows w ON w.deployment_id = s.deployment_id";

pub(crate) async fn sample(
    store: &PostgresStore,
    before: Option<Timestamp>,
    limit: u32,
) -> Result<Sample<ScheduleRecord>, StoreError> {
    let most = i64::from(limit);
    let mut query = QueryBuilder::new(COLUMNS);
    query.push("WHERE due_at IS NOT NULL");
    due(&mut query, before);
    query
        .push(" ORDER BY due_at, trigger_id LIMIT ")
        .push_bind(most + 1);
    query.push(JOINS);
    let mut items = fetch(store, query).await?;
    if items.len() <= limit as usize {
        return Ok(Sample {
            items,
            estimate: None,
        });
    }
    // What statistics say of the table; -1 before the first of them.
    let rows: f32 =
        sqlx::query_scalar("SELECT reltuples FROM pg_class WHERE oid = 'schedules'::regclass")
            .fetch_one(&store.pool)
            .await
            .map_err(store_error)?;
    // Somewhat more than asked for, as pages are drawn and not rows.
    let percent = f64::from(limit) * 150.0 / f64::from(rows);
    if rows > 0.0 && percent < 100.0 {
        let mut query = QueryBuilder::new(COLUMNS);
        query
            .push("TABLESAMPLE SYSTEM (")
            .push_bind(percent)
            .push(") WHERE due_at IS NOT NULL");
        due(&mut query, before);
        query.push(" LIMIT ").push_bind(most * 4);
        query.push(JOINS);
        let mut drawn = fetch(store, query).await?;
        // Statistics that lag behind may leave next to nothing to draw.
        if drawn.len() >= limit as usize / 10 {
            let count = f64::from(u32::try_from(drawn.len()).unwrap_or(u32::MAX));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an estimate, and positive"
            )]
            let estimate = (count * 100.0 / percent) as u64;
            drawn.truncate(limit as usize);
            return Ok(Sample {
                items: drawn,
                estimate: Some(estimate.max(u64::from(limit) + 1)),
            });
        }
    }
    // The soonest, and that there are more is all that is known.
    items.truncate(limit as usize);
    Ok(Sample {
        items,
        estimate: Some(u64::from(limit) + 1),
    })
}

fn due(query: &mut QueryBuilder<Postgres>, before: Option<Timestamp>) {
    if let Some(before) = before {
        query.push(" AND due_at < ").push_bind(PgTime(before));
    }
}

async fn fetch(
    store: &PostgresStore,
    mut query: QueryBuilder<Postgres>,
) -> Result<Vec<ScheduleRecord>, StoreError> {
    let rows: Vec<Row> = query
        .build_query_as()
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
    rows.into_iter().map(Row::record).collect()
}
