//! Executions by filter, live and ended in one statement.

use millrace_store::{
    ExecutionFilter, ExecutionRecord, Page, PageRequest, SCAN_BUDGET, StoreError, Walk, Wanted,
};
use millrace_types::{DeploymentId, ExecutionStatus, TriggerId, TriggerKind};
use sqlx::{FromRow as _, Postgres, QueryBuilder, Row as _};

use super::read::Row;
use crate::PostgresStore;
use crate::convert::{day, first_day, parsed};
use crate::error::store_error;
use crate::time::PgTime;

const LIVE: &str = "(SELECT id, deployment_id, workflow_id, version, status, trigger_kind, \
    trigger_id, ''::bytea AS input, NULL::bytea AS output, NULL::bytea AS error, created_at, \
    started_at, NULL::timestamptz AS ended_at, rerun_of FROM executions WHERE TRUE";

const ENDED: &str = "(SELECT id, deployment_id, workflow_id, version, status, trigger_kind, \
    trigger_id, ''::bytea AS input, NULL::bytea AS output, error, created_at, \
    started_at, ended_at, rerun_of FROM executions_ended WHERE TRUE";

/// Newest first. Both halves are in the order of ids and cut, so that the
/// merge handles little; one statement is one snapshot, in which each
/// execution is in exactly one of the two. Planning it, with all partitions,
/// takes longer than the walk, so that the plan is kept; numbers of rows are
/// part of the text, since they decide about it.
pub(super) async fn list(
    store: &PostgresStore,
    filter: &ExecutionFilter,
    page: &PageRequest,
) -> Result<Page<ExecutionRecord>, StoreError> {
    let trigger = match filter.trigger_id {
        Some(id) => trigger(store, id).await?,
        None => None,
    };
    let walk = filter.walk(trigger);
    if walk.rest.is_empty() {
        indexed(store, filter, &walk, page).await
    } else {
        checked(store, filter, &walk, page).await
    }
}

async fn trigger(
    store: &PostgresStore,
    id: TriggerId,
) -> Result<Option<(TriggerKind, DeploymentId)>, StoreError> {
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT kind, deployment_id FROM triggers WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&store.pool)
            .await
            .map_err(store_error)?;
    row.map(|(kind, deployment)| Ok((parsed(&kind)?, parsed(&deployment)?)))
        .transpose()
}

/// The halves that the filter leaves: live ones, ended ones.
fn halves(filter: &ExecutionFilter) -> (bool, bool) {
    let live = !filter.unsuccessful && filter.status.is_none_or(|status| !status.is_ended());
    let ended = filter.status.is_none_or(ExecutionStatus::is_ended);
    (live, ended)
}

/// An index knows everything: what is walked is the page.
async fn indexed(
    store: &PostgresStore,
    filter: &ExecutionFilter,
    walk: &Walk,
    page: &PageRequest,
) -> Result<Page<ExecutionRecord>, StoreError> {
    let limit = i64::from(page.limit) + 1;
    let mut query = QueryBuilder::new("SELECT * FROM (");
    let (live, ended) = halves(filter);
    if live {
        half(&mut query, false, filter, walk, page, limit);
    }
    if live && ended {
        query.push(" UNION ALL ");
    }
    if ended || !live {
        half(&mut query, true, filter, walk, page, limit);
    }
    query.push(") AS e ORDER BY id DESC LIMIT ").push(limit);
    let rows: Vec<Row> = query
        .build_query_as()
        .fetch_all(&store.kept)
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

/// Rows are checked one by one, up to the budget. The page ends at the
/// frontier, down to which each half has been looked through.
async fn checked(
    store: &PostgresStore,
    filter: &ExecutionFilter,
    walk: &Walk,
    page: &PageRequest,
) -> Result<Page<ExecutionRecord>, StoreError> {
    let limit = i64::from(page.limit) + 1;
    let budget = limit.max(i64::from(SCAN_BUDGET));
    let mut query = QueryBuilder::new("WITH ");
    let (live, ended) = halves(filter);
    let mut names = Vec::with_capacity(2);
    for (wanted, name, ended) in [(live, "live", false), (ended || !live, "ended", true)] {
        if wanted {
            query.push(name).push(" AS MATERIALIZED ");
            half(&mut query, ended, filter, walk, page, budget);
            query.push(", ");
            names.push(name);
        }
    }
    query.push("frontier AS (SELECT max(id) AS id FROM (");
    for (at, name) in names.iter().enumerate() {
        query
            .push(if at == 0 { "" } else { " UNION ALL " })
            .push("SELECT min(id) AS id FROM ")
            .push(*name)
            .push(" HAVING count(*) >= ")
            .push(budget);
    }
    query.push(") f) SELECT f.id AS frontier, e.* FROM frontier f LEFT JOIN (");
    for (at, name) in names.iter().enumerate() {
        query
            .push(if at == 0 { "" } else { " UNION ALL " })
            .push("SELECT * FROM ")
            .push(*name)
            .push(" WHERE TRUE");
        conditions(&mut query, &walk.rest);
    }
    query
        .push(") e ON f.id IS NULL OR e.id >= f.id ORDER BY e.id DESC LIMIT ")
        .push(limit);
    let rows = query
        .build()
        .fetch_all(&store.kept)
        .await
        .map_err(store_error)?;
    let mut frontier = None;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        frontier = row
            .try_get::<Option<String>, _>("frontier")
            .map_err(store_error)?;
        let found: Option<&str> = row.try_get("id").map_err(store_error)?;
        if found.is_some() {
            records.push(Row::from_row(row).map_err(store_error)?.record()?);
        }
    }
    let mut found = Page::from_rows(records, page.limit, |record| record.id.to_string());
    found.next = found.next.or(frontier);
    Ok(found)
}

/// One of the halves, in parentheses.
fn half(
    query: &mut QueryBuilder<Postgres>,
    ended: bool,
    filter: &ExecutionFilter,
    walk: &Walk,
    page: &PageRequest,
    limit: i64,
) {
    query.push(if ended { ENDED } else { LIVE });
    conditions(query, &walk.by);
    if let Some(from) = filter.from {
        query.push(" AND created_at >= ").push_bind(PgTime(from));
        if ended {
            query.push(" AND ended_day >= ").push(day(first_day(from)));
        }
    }
    if let Some(to) = filter.to {
        query.push(" AND created_at < ").push_bind(PgTime(to));
    }
    // The index is in the order of ids, which follow the times of creation up
    // to the clocks of those who mint them.
    let (first, end) = filter.ids();
    if let Some(first) = first {
        query.push(" AND id >= ").push_bind(first.to_string());
    }
    if let Some(end) = end {
        query.push(" AND id < ").push_bind(end.to_string());
    }
    if let Some(cursor) = &page.cursor {
        query.push(" AND id < ").push_bind(cursor.clone());
    }
    query.push(" ORDER BY id DESC LIMIT ").push(limit).push(")");
}

fn conditions(query: &mut QueryBuilder<Postgres>, wanted: &[Wanted]) {
    for wanted in wanted {
        match wanted {
            Wanted::Deployment(id) => query
                .push(" AND deployment_id = ")
                .push_bind(id.to_string()),
            Wanted::Status(status) => query.push(" AND status = ").push_bind(status.as_str()),
            // These two are literally what the partial indexes say.
            Wanted::Unsuccessful => query.push(" AND status <> 'SUCCEEDED'"),
            Wanted::RareKind => query.push(" AND trigger_kind NOT IN ('webhook', 'manual')"),
            Wanted::Trigger(id) => query.push(" AND trigger_id = ").push_bind(id.to_string()),
            Wanted::Kind(kind) => query.push(" AND trigger_kind = ").push_bind(kind.as_str()),
        };
    }
}
