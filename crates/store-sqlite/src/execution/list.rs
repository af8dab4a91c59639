//! Lists of executions.

use std::time::Duration;

use millrace_store::{ExecutionFilter, ExecutionRecord, Page, PageRequest, StoreError};
use millrace_types::{ExecutionId, Timestamp};
use sqlx::{QueryBuilder, Sqlite};

use super::show::without_payloads;
use crate::SqliteStore;
use crate::error::store_error;

const LIVE: &str = "
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, NULL AS ended_at, rerun_of, NULL AS error
    FROM executions WHERE true";

const ENDED: &str = "
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, ended_at, rerun_of, error
    FROM executions_ended WHERE true";

/// Identifiers are minted just before the admission, but by another clock: by
/// how much the two may differ. It lets a filter by time of creation also
/// bound the range of identifiers, which is what the tables are ordered by.
const CLOCKS_APART: Duration = Duration::from_hours(24);

impl SqliteStore {
    pub(crate) async fn executions_page(
        &self,
        filter: &ExecutionFilter,
        page: &PageRequest,
    ) -> Result<Page<ExecutionRecord>, StoreError> {
        let mut connection = self.read().await?;
        let rows = select(filter, page)
            .build()
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let records = rows
            .iter()
            .map(without_payloads)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_rows(records, page.limit, |record| {
            record.id.to_string()
        }))
    }
}

/// One statement, and so one snapshot, for the live and the ended.
fn select(filter: &ExecutionFilter, page: &PageRequest) -> QueryBuilder<Sqlite> {
    // Each part is cut to the page's length by itself, so that no more
    // than two pages are ever merged.
    let mut query = QueryBuilder::new("SELECT * FROM (SELECT * FROM (");
    let mut first = true;
    for (select, ended) in [(LIVE, false), (ENDED, true)] {
        if filter
            .status
            .is_some_and(|status| status.is_ended() != ended)
        {
            continue;
        }
        if !first {
            query.push(" UNION ALL SELECT * FROM (");
        }
        first = false;
        query.push(select);
        narrow(&mut query, filter, page);
        query.push(" ORDER BY id DESC LIMIT ");
        query.push_bind(i64::from(page.limit) + 1);
        query.push(")");
    }
    query.push(") ORDER BY id DESC LIMIT ");
    query.push_bind(i64::from(page.limit) + 1);
    query
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &ExecutionFilter, page: &PageRequest) {
    if let Some(cursor) = &page.cursor {
        query.push(" AND id < ").push_bind(cursor.clone());
    }
    if let Some(id) = filter.deployment_id {
        query
            .push(" AND deployment_id = ")
            .push_bind(id.to_string());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
        if status != millrace_types::ExecutionStatus::Succeeded && status.is_ended() {
            // Says what the partial index asks for: a parameter cannot.
            query.push(" AND status <> 'SUCCEEDED'");
        }
    }
    if let Some(kind) = filter.trigger {
        query.push(" AND trigger_kind = ").push_bind(kind.as_str());
    }
    if let Some(from) = filter.from {
        query
            .push(" AND created_at >= ")
            .push_bind(from.as_micros());
        let apart = i64::try_from(CLOCKS_APART.as_micros()).unwrap_or(0);
        let bound = Timestamp::from_micros(from.as_micros().saturating_sub(apart));
        query
            .push(" AND id >= ")
            .push_bind(ExecutionId::lower_bound(bound).to_string());
    }
    if let Some(to) = filter.to {
        query.push(" AND created_at < ").push_bind(to.as_micros());
        let bound = to.saturating_add(CLOCKS_APART);
        query
            .push(" AND id < ")
            .push_bind(ExecutionId::lower_bound(bound).to_string());
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::{DeploymentId, ExecutionStatus};

    use super::*;
    use crate::plan::plan;

    fn page() -> PageRequest {
        PageRequest {
            cursor: Some(ExecutionId::new().to_string()),
            limit: 50,
        }
    }

    async fn plan_of(filter: ExecutionFilter) -> Vec<String> {
        plan(select(&filter, &page()).sql().as_str()).await
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
