//! Executions by filter, live and ended in one statement.

use std::time::Duration;

use millrace_store::{ExecutionFilter, ExecutionRecord, Page, PageRequest, StoreError};
use millrace_types::{ExecutionId, ExecutionStatus, Timestamp};
use sqlx::{Postgres, QueryBuilder};

use super::read::Row;
use crate::PostgresStore;
use crate::convert::first_day;
use crate::error::store_error;
use crate::time::PgTime;

const DAY: Duration = Duration::from_hours(24);

const LIVE: &str = "(SELECT id, deployment_id, workflow_id, version, status, trigger_kind, \
    trigger_id, ''::bytea AS input, NULL::bytea AS output, NULL::bytea AS error, created_at, \
    started_at, NULL::timestamptz AS ended_at, rerun_of FROM executions WHERE TRUE";

const ENDED: &str = "(SELECT id, deployment_id, workflow_id, version, status, trigger_kind, \
    trigger_id, ''::bytea AS input, NULL::bytea AS output, error, created_at, \
    started_at, ended_at, rerun_of FROM executions_ended WHERE TRUE";

/// Newest first. Both halves are in the order of ids and cut to the page, so
/// that the merge handles two pages at most; one statement is one snapshot,
/// in which each execution is in exactly one of the two.
pub(super) async fn list(
    store: &PostgresStore,
    filter: &ExecutionFilter,
    page: &PageRequest,
) -> Result<Page<ExecutionRecord>, StoreError> {
    let mut query = QueryBuilder::new("SELECT * FROM (");
    let live = filter.status.is_none_or(|status| !status.is_ended());
    let ended = filter.status.is_none_or(ExecutionStatus::is_ended);
    if live {
        query.push(LIVE);
        conditions(&mut query, filter, page);
    }
    if live && ended {
        query.push(" UNION ALL ");
    }
    if ended {
        query.push(ENDED);
        if filter
            .status
            .is_some_and(|s| s != ExecutionStatus::Succeeded)
        {
            // Literally what the index of the unsuccessful ones says.
            query.push(" AND status <> 'SUCCEEDED'");
        }
        if let Some(from) = filter.from {
            query
                .push(" AND ended_day >= date '1970-01-01' + ")
                .push_bind(first_day(from));
        }
        conditions(&mut query, filter, page);
    }
    query
        .push(") AS e ORDER BY id DESC LIMIT ")
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
    Ok(Page::from_rows(records, page.limit, |record| {
        record.id.to_string()
    }))
}

fn conditions(query: &mut QueryBuilder<Postgres>, filter: &ExecutionFilter, page: &PageRequest) {
    if let Some(id) = filter.deployment_id {
        query
            .push(" AND deployment_id = ")
            .push_bind(id.to_string());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(kind) = filter.trigger {
        query.push(" AND trigger_kind = ").push_bind(kind.as_str());
    }
    // Times of creation decide. Ids, whose index is walked, follow them up to
    // the clocks of those who mint them; a day of slack keeps the walk short
    // and loses nothing.
    if let Some(from) = filter.from {
        let earlier = Timestamp::from_micros(from.as_micros().saturating_sub(micros(DAY)));
        query
            .push(" AND created_at >= ")
            .push_bind(PgTime(from))
            .push(" AND id >= ")
            .push_bind(ExecutionId::lower_bound(earlier).to_string());
    }
    if let Some(to) = filter.to {
        let later = to.saturating_add(DAY);
        query
            .push(" AND created_at < ")
            .push_bind(PgTime(to))
            .push(" AND id < ")
            .push_bind(ExecutionId::lower_bound(later).to_string());
    }
    if let Some(cursor) = &page.cursor {
        query.push(" AND id < ").push_bind(cursor.clone());
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(page.limit) + 1)
        .push(")");
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
