//! Statistics of deployments, over what they did in the last day.

use std::time::Duration;

use millrace_store::{
    DeploymentFilter, DeploymentRecord, EndedFigures, ExecutionFilter, PageRequest, StoreError,
};
use millrace_types::{DeploymentId, ExecutionStatus, Timestamp};
use serde::Serialize;

use super::shapes::{Count, Summary, Window, before, between};
use super::{CAP, MonitoringService};

/// How far back statistics look.
const WINDOW: Duration = Duration::from_hours(24);
/// Ended executions that are read for one deployment.
const READ: u32 = 10_000;
/// The same where many deployments are asked about at once.
const READ_IN_LIST: u32 = 1000;
/// Deployments in one answer at most.
const PAGE: u32 = 100;

/// `{items, next}`
#[derive(Debug, Serialize)]
pub(crate) struct StatsPage {
    pub items: Vec<DeploymentStats>,
    pub next: Option<String>,
}

/// Counts by status, lengths and the success rate are about executions that
/// were created within `window` and have ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeploymentStats {
    deployment_id: String,
    workflow_id: String,
    name: String,
    namespace: String,
    status: String,
    live: Live,
    window: Window,
    ended: Ended,
    /// Succeeded of all that ended without being cancelled, 0 to 1; `null`
    /// when there is none.
    success_rate: Option<f64>,
    /// From the first start to the end.
    durations: Option<Summary>,
    /// From the creation to the first start.
    waits: Option<Summary>,
    last_run: Option<LastRun>,
    next_fires: Vec<NextFire>,
}

#[derive(Debug, Serialize)]
struct Live {
    pending: Count,
    running: Count,
    waiting: Count,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    timed_out: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastRun {
    execution_id: String,
    status: String,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NextFire {
    trigger_id: String,
    nominal_at: Timestamp,
    effective_at: Timestamp,
}

impl MonitoringService {
    /// Statistics of one deployment; `None` when there is none of this id.
    pub(crate) async fn deployment_stats(
        &self,
        id: DeploymentId,
    ) -> Result<Option<DeploymentStats>, StoreError> {
        match self.store.deployment(id).await? {
            Some(record) => self.stats_of(record, READ).await.map(Some),
            None => Ok(None),
        }
    }

    /// Newest first; a page holds 100 at most, whatever was asked for.
    pub(crate) async fn all_deployment_stats(
        &self,
        page: &PageRequest,
    ) -> Result<StatsPage, StoreError> {
        let page = PageRequest {
            cursor: page.cursor.clone(),
            limit: page.limit.min(PAGE),
        };
        let found = self
            .store
            .list_deployments(&DeploymentFilter::default(), &page)
            .await?;
        let mut items = Vec::with_capacity(found.items.len());
        for record in found.items {
            items.push(self.stats_of(record, READ_IN_LIST).await?);
        }
        Ok(StatsPage {
            items,
            next: found.next,
        })
    }

    async fn stats_of(
        &self,
        record: DeploymentRecord,
        read: u32,
    ) -> Result<DeploymentStats, StoreError> {
        let to = Timestamp::now();
        let since = before(to, WINDOW);
        let figures = self
            .store
            .deployment_figures(record.id, since, read, CAP)
            .await?;
        let newest = ExecutionFilter {
            deployment_id: Some(record.id),
            ..ExecutionFilter::default()
        };
        let one = PageRequest {
            cursor: None,
            limit: 1,
        };
        let last = self.store.list_executions(&newest, &one).await?;
        let from = match figures.ended.last() {
            Some(oldest) if figures.cut => oldest.created_at,
            _ => since,
        };
        let ended = count(&figures.ended);
        Ok(DeploymentStats {
            deployment_id: record.id.to_string(),
            workflow_id: record.workflow_id.to_string(),
            name: record.name,
            namespace: record.namespace,
            status: record.status.to_string(),
            live: Live {
                pending: figures.pending.into(),
                running: figures.running.into(),
                waiting: figures.waiting.into(),
            },
            window: Window {
                from,
                to,
                complete: !figures.cut,
            },
            success_rate: success_rate(&ended),
            ended,
            durations: Summary::of(
                figures
                    .ended
                    .iter()
                    .filter_map(|e| Some(between(e.started_at?, e.ended_at)))
                    .collect(),
            ),
            waits: Summary::of(
                figures
                    .ended
                    .iter()
                    .filter_map(|e| Some(between(e.created_at, e.started_at?)))
                    .collect(),
            ),
            last_run: last.items.into_iter().next().map(|run| LastRun {
                execution_id: run.id.to_string(),
                status: run.status.to_string(),
                created_at: run.created_at,
                ended_at: run.ended_at,
            }),
            next_fires: figures
                .next_fires
                .into_iter()
                .map(|fire| NextFire {
                    trigger_id: fire.trigger_id.to_string(),
                    nominal_at: fire.nominal_at,
                    effective_at: fire.effective_at,
                })
                .collect(),
        })
    }
}

fn count(all: &[EndedFigures]) -> Ended {
    let mut ended = Ended::default();
    for one in all {
        match one.status {
            ExecutionStatus::Failed => ended.failed += 1,
            ExecutionStatus::Cancelled => ended.cancelled += 1,
            ExecutionStatus::TimedOut => ended.timed_out += 1,
            _ => ended.succeeded += 1,
        }
    }
    ended
}

#[expect(clippy::cast_precision_loss, reason = "ten thousand at most")]
fn success_rate(ended: &Ended) -> Option<f64> {
    let judged = ended.succeeded + ended.failed + ended.timed_out;
    (judged > 0).then(|| ended.succeeded as f64 / judged as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_ones_say_nothing_about_success() {
        let ended = Ended {
            succeeded: 3,
            failed: 1,
            cancelled: 96,
            timed_out: 0,
        };
        assert_eq!(success_rate(&ended), Some(0.75));
        assert_eq!(success_rate(&Ended::default()), None);
    }
}
