//! Lists of executions.

use millrace_store::{
    ExecutionFilter, ExecutionRecord, Page, PageRequest, SCAN_BUDGET, StoreError, Walk, Wanted,
};
use millrace_types::{DeploymentId, ExecutionStatus, TriggerId, TriggerKind};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::show::without_payloads;
use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

const LIVE: &str = "
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, NULL AS ended_at, rerun_of, NULL AS error
    FROM executions WHERE true";

const ENDED: &str = "
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, ended_at, rerun_of, error
    FROM executions_ended WHERE true";

impl SqliteStore {
    pub(crate) async fn executions_page(
        &self,
        filter: &ExecutionFilter,
        page: &PageRequest,
    ) -> Result<Page<ExecutionRecord>, StoreError> {
        let mut connection = self.read().await?;
        let trigger = match filter.trigger_id {
            Some(id) => trigger(&mut connection, id).await?,
            None => None,
        };
        let walk = filter.walk(trigger);
        let mut query = if walk.rest.is_empty() {
            indexed(filter, &walk, page)
        } else {
            checked(filter, &walk, page)
        };
        let rows = query
            .build()
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let mut frontier = None;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            if !walk.rest.is_empty() {
                frontier = row.raw::<Option<String>>("frontier")?;
            }
            if row.raw::<Option<&str>>("id")?.is_some() {
                records.push(without_payloads(row)?);
            }
        }
        let mut found = Page::from_rows(records, page.limit, |record| record.id.to_string());
        found.next = found.next.or(frontier);
        Ok(found)
    }
}

async fn trigger(
    connection: &mut SqliteConnection,
    id: TriggerId,
) -> Result<Option<(TriggerKind, DeploymentId)>, StoreError> {
    let row = sqlx::query("SELECT kind, deployment_id FROM triggers WHERE id = ?1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map(|row| Ok((row.parsed("kind")?, row.parsed("deployment_id")?)))
        .transpose()
}

/// The halves that the filter leaves; never none.
fn halves(filter: &ExecutionFilter) -> Vec<(&'static str, &'static str)> {
    let live = !filter.unsuccessful && filter.status.is_none_or(|status| !status.is_ended());
    let ended = filter.status.is_none_or(ExecutionStatus::is_ended) || !live;
    let mut halves = Vec::with_capacity(2);
    if live {
        halves.push(("live", LIVE));
    }
    if ended {
        halves.push(("ended", ENDED));
    }
    halves
}

/// An index knows everything: what is walked is the page. One statement, and
/// so one snapshot, for the live and the ended.
fn indexed(filter: &ExecutionFilter, walk: &Walk, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let limit = i64::from(page.limit) + 1;
    // Each half is cut to the page's length by itself, so that no more than
    // two pages are ever merged.
    let mut query = QueryBuilder::new("SELECT * FROM (");
    for (at, (_, select)) in halves(filter).into_iter().enumerate() {
        query.push(if at == 0 { "" } else { " UNION ALL " });
        query.push("SELECT * FROM (");
        half(&mut query, select, filter, walk, page, limit);
        query.push(")");
    }
    query.push(") ORDER BY id DESC LIMIT ").push_bind(limit);
    query
}

/// Rows are checked one by one, up to the budget. The page ends at the
/// frontier, down to which each half has been looked through.
fn checked(filter: &ExecutionFilter, walk: &Walk, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let limit = i64::from(page.limit) + 1;
    let budget = limit.max(i64::from(SCAN_BUDGET));
    let halves = halves(filter);
    let mut query = QueryBuilder::new("WITH ");
    for (name, select) in &halves {
        query.push(*name).push(" AS MATERIALIZED (");
        half(&mut query, select, filter, walk, page, budget);
        query.push("), ");
    }
    query.push("frontier AS (SELECT max(id) AS frontier FROM (");
    for (at, (name, _)) in halves.iter().enumerate() {
        query
            .push(if at == 0 { "" } else { " UNION ALL " })
            .push("SELECT min(id) AS id FROM ")
            .push(*name)
            .push(" HAVING count(*) >= ")
            .push_bind(budget);
    }
    query.push(")) SELECT f.frontier, e.* FROM frontier f LEFT JOIN (");
    for (at, (name, _)) in halves.iter().enumerate() {
        query
            .push(if at == 0 { "" } else { " UNION ALL " })
            .push("SELECT * FROM ")
            .push(*name)
            .push(" WHERE true");
        conditions(&mut query, &walk.rest);
    }
    query
        .push(") e ON f.frontier IS NULL OR e.id >= f.frontier ORDER BY e.id DESC LIMIT ")
        .push_bind(limit);
    query
}

fn half(
    query: &mut QueryBuilder<Sqlite>,
    select: &'static str,
    filter: &ExecutionFilter,
    walk: &Walk,
    page: &PageRequest,
    limit: i64,
) {
    query.push(select);
    conditions(query, &walk.by);
    if let Some(from) = filter.from {
        query
            .push(" AND created_at >= ")
            .push_bind(from.as_micros());
    }
    if let Some(to) = filter.to {
        query.push(" AND created_at < ").push_bind(to.as_micros());
    }
    // The tables are in the order of ids, which follow the times of creation
    // up to the clocks of those who mint them.
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
    query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
}

fn conditions(query: &mut QueryBuilder<Sqlite>, wanted: &[Wanted]) {
    for wanted in wanted {
        match wanted {
            Wanted::Deployment(id) => query
                .push(" AND deployment_id = ")
                .push_bind(id.to_string()),
            Wanted::Status(status) => query.push(" AND status = ").push_bind(status.as_str()),
            // These two say what partial indexes ask for: a parameter cannot.
            Wanted::Unsuccessful => query.push(" AND status <> 'SUCCEEDED'"),
            Wanted::RareKind => query.push(" AND trigger_kind NOT IN ('webhook', 'manual')"),
            Wanted::Trigger(id) => query.push(" AND trigger_id = ").push_bind(id.to_string()),
            Wanted::Kind(kind) => query.push(" AND trigger_kind = ").push_bind(kind.as_str()),
        };
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::{ExecutionId, Timestamp};

    use super::*;
    use crate::plan::plan;

    fn page() -> PageRequest {
        PageRequest {
            cursor: Some(ExecutionId::new().to_string()),
            limit: 50,
        }
    }

    async fn plan_of(filter: ExecutionFilter) -> Vec<String> {
        plan(indexed(&filter, &filter.walk(None), &page()).sql().as_str()).await
    }

    #[tokio::test]
    async fn pages_are_read_in_the_order_of_an_index() {
        let deployment = ExecutionFilter {
            deployment_id: Some(DeploymentId::new()),
            ..ExecutionFilter::default()
        };
        let times = ExecutionFilter {
            from: Some(Timestamp::now()),
            to: Some(Timestamp::now()),
            ..ExecutionFilter::default()
        };
        for filter in [ExecutionFilter::default(), deployment, times] {
            let plan = plan_of(filter).await;
            let searches = plan
                .iter()
                .filter(|step| step.starts_with("SEARCH"))
                .count();
            assert_eq!(searches, 2, "{plan:#?}");
            // Only the merge of the two pages is sorted.
            let sorts = plan.iter().filter(|step| step.contains("ORDER BY")).count();
            assert!(sorts <= 1, "{plan:#?}");
        }
    }

    #[tokio::test]
    async fn unsuccessful_ones_have_an_index_of_their_own() {
        let failed = ExecutionFilter {
            status: Some(ExecutionStatus::Failed),
            ..ExecutionFilter::default()
        };
        let plan = plan_of(failed).await;
        let indexed = plan
            .iter()
            .any(|step| step.contains("executions_ended_unsuccessful_idx"));
        assert!(indexed, "{plan:#?}");
    }
}
