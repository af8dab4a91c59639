//! Figures for whoever watches. Counts are made over sub-selects with a
//! LIMIT, and walk indexes only.

use async_trait::async_trait;
use millrace_store::{
    Count, DeploymentFigures, EndedFigures, FireFigures, FireOutcome, InstanceFigures, LoadFigures,
    MonitoringStore, NextFire, Sample, ScheduleFigures, ScheduleRecord, StoreError,
};
use millrace_types::{DeploymentId, ExecutionId, Timestamp};

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

const LIVE: &str = "
    SELECT count(*) FILTER (WHERE status = 'PENDING') AS pending,
        count(*) FILTER (WHERE status = 'RUNNING') AS running,
        count(*) FILTER (WHERE status = 'WAITING') AS waiting
    FROM (SELECT status FROM executions WHERE deployment_id = ?1 LIMIT ?2)";

const ENDED: &str = "
    SELECT status, created_at, started_at, ended_at FROM executions_ended
    WHERE deployment_id = ?1 AND id >= ?2 AND created_at >= ?3 ORDER BY id DESC LIMIT ?4";

const NEXT_FIRES: &str = "
    SELECT trigger_id, next_nominal, next_effective FROM schedules
    WHERE deployment_id = ?1 AND next_nominal IS NOT NULL AND next_effective IS NOT NULL
    ORDER BY next_effective, trigger_id LIMIT 10";

/// The status is looked up row by row: a join might read all workflows.
const SCHEDULES: &str = "
    SELECT count(*) FILTER (WHERE finished) AS finished,
        count(*) FILTER (WHERE NOT finished AND live) AS active,
        count(*) FILTER (WHERE NOT finished AND NOT live) AS paused
    FROM (SELECT due_at IS NULL AS finished,
            (SELECT deployment_status = 'DEPLOYED' FROM workflows w
             WHERE w.deployment_id = s.deployment_id) AS live
          FROM (SELECT due_at, deployment_id FROM schedules LIMIT ?1) s)";

const DUE_SCHEDULES: &str = "
    SELECT count(*) AS due, min(due_at) AS due_since FROM
        (SELECT due_at FROM schedules WHERE due_at IS NOT NULL AND due_at <= ?1
         ORDER BY due_at LIMIT ?2)";

const FIRES: &str = "
    SELECT trigger_id, count, nominal_at, until_at, effective_at, decided_at, outcome, waiting
    FROM fires
    WHERE decided_at >= ?1 ORDER BY decided_at DESC LIMIT ?2";

const INSTANCES: &str = "
    SELECT id, created_at,
        (SELECT count(*) FROM (SELECT 1 FROM executions e WHERE e.owner = i.id LIMIT ?2)) AS running
    FROM incarnations i WHERE expires_at > ?1 ORDER BY id LIMIT 100";

const UNOWNED: &str = "
    SELECT count(*) FILTER (WHERE wake_at <= ?1) AS due,
        min(wake_at) FILTER (WHERE wake_at <= ?1) AS due_since, count(*) AS unowned,
        count(*) FILTER (WHERE failed_starts > 0) AS backing_off
    FROM (SELECT wake_at, failed_starts FROM executions WHERE owner IS NULL ORDER BY wake_at, id LIMIT ?2)";

#[async_trait]
impl MonitoringStore for SqliteStore {
    async fn deployment_figures(
        &self,
        id: DeploymentId,
        since: Timestamp,
        limit: u32,
        cap: u32,
    ) -> Result<DeploymentFigures, StoreError> {
        let id = id.to_string();
        let mut connection = self.read().await?;
        let live = sqlx::query(LIVE)
            .bind(&id)
            .bind(i64::from(cap) + 1)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        let (pending, running, waiting): (u64, u64, u64) = (
            live.number("pending")?,
            live.number("running")?,
            live.number("waiting")?,
        );
        let whole = pending + running + waiting;
        let rows = sqlx::query(ENDED)
            .bind(&id)
            .bind(ExecutionId::lower_bound(since).to_string())
            .bind(since.as_micros())
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let ended = rows
            .iter()
            .take(limit as usize)
            .map(|row| {
                Ok(EndedFigures {
                    status: row.parsed("status")?,
                    created_at: row.time("created_at")?,
                    started_at: row.time_option("started_at")?,
                    ended_at: row.time("ended_at")?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let next = sqlx::query(NEXT_FIRES)
            .bind(&id)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        Ok(DeploymentFigures {
            pending: Count::part(pending, whole, cap),
            running: Count::part(running, whole, cap),
            waiting: Count::part(waiting, whole, cap),
            ended,
            cut: rows.len() > limit as usize,
            next_fires: next
                .iter()
                .map(|row| {
                    Ok(NextFire {
                        trigger_id: row.parsed("trigger_id")?,
                        nominal_at: row.time("next_nominal")?,
                        effective_at: row.time("next_effective")?,
                    })
                })
                .collect::<Result<_, StoreError>>()?,
        })
    }

    async fn schedule_figures(&self, cap: u32) -> Result<ScheduleFigures, StoreError> {
        let mut connection = self.read().await?;
        let now = self.now();
        let states = sqlx::query(SCHEDULES)
            .bind(i64::from(cap) + 1)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        let due = sqlx::query(DUE_SCHEDULES)
            .bind(now.as_micros())
            .bind(i64::from(cap) + 1)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        let (active, paused, finished): (u64, u64, u64) = (
            states.number("active")?,
            states.number("paused")?,
            states.number("finished")?,
        );
        let whole = active + paused + finished;
        Ok(ScheduleFigures {
            now,
            active: Count::part(active, whole, cap),
            paused: Count::part(paused, whole, cap),
            finished: Count::part(finished, whole, cap),
            due: Count::capped(due.number("due")?, cap),
            due_since: due.time_option("due_since")?,
        })
    }

    async fn recent_fires(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Sample<FireFigures>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(FIRES)
            .bind(since.as_micros())
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let items = rows
            .iter()
            .take(limit as usize)
            .map(|row| {
                Ok(FireFigures {
                    trigger_id: row.parsed("trigger_id")?,
                    count: row.number("count")?,
                    nominal_at: row.time("nominal_at")?,
                    until_at: row.time("until_at")?,
                    effective_at: row.time("effective_at")?,
                    decided_at: row.time("decided_at")?,
                    outcome: row
                        .parsed::<FireOutcome>("outcome")?
                        .or_waiting(row.raw("waiting")?),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let estimate = (rows.len() > limit as usize).then_some(u64::from(limit) + 1);
        Ok(Sample { items, estimate })
    }

    async fn sample_schedules(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Sample<ScheduleRecord>, StoreError> {
        self.schedules_sample(before, limit).await
    }

    async fn load_figures(&self, cap: u32) -> Result<LoadFigures, StoreError> {
        let mut connection = self.read().await?;
        let now = self.now().as_micros();
        let instances = sqlx::query(INSTANCES)
            .bind(now)
            .bind(i64::from(cap) + 1)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let unowned = sqlx::query(UNOWNED)
            .bind(now)
            .bind(i64::from(cap) + 1)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        let whole = unowned.number("unowned")?;
        Ok(LoadFigures {
            instances: instances
                .iter()
                .map(|row| {
                    Ok(InstanceFigures {
                        id: row.parsed("id")?,
                        since: row.time("created_at")?,
                        running: Count::capped(row.number("running")?, cap),
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            due: Count::capped(unowned.number("due")?, cap),
            unowned: Count::capped(whole, cap),
            backing_off: Count::part(unowned.number("backing_off")?, whole, cap),
            due_since: unowned.time_option("due_since")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn what_ended_is_read_through_indexes() {
        assert_searches(&[ENDED, FIRES, NEXT_FIRES]).await;
        for statement in [ENDED, FIRES] {
            let plan = plan(statement).await;
            assert!(
                !plan.iter().any(|step| step.contains("TEMP B-TREE")),
                "{plan:#?}"
            );
        }
    }
}
