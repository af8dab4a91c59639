//! Figures for whoever watches. Counts are made over sub-selects with a
//! LIMIT, and walk indexes only.

use async_trait::async_trait;
use millrace_store::{
    Count, DeploymentFigures, EndedFigures, FireFigures, FireOutcome, InstanceFigures, LoadFigures,
    MonitoringStore, NextFire, Sample, ScheduleFigures, ScheduleRecord, StoreError,
};
use millrace_types::{DeploymentId, ExecutionId, Timestamp};

use crate::PostgresStore;
use crate::convert::{counter, first_day, parsed};
use crate::error::store_error;
use crate::schedule::sample;
use crate::time::PgTime;

#[async_trait]
impl MonitoringStore for PostgresStore {
    async fn deployment_figures(
        &self,
        id: DeploymentId,
        since: Timestamp,
        limit: u32,
        cap: u32,
    ) -> Result<DeploymentFigures, StoreError> {
        self.bounded(deployment(self, id, since, limit, cap)).await
    }

    async fn schedule_figures(&self, cap: u32) -> Result<ScheduleFigures, StoreError> {
        self.bounded(schedules(self, cap)).await
    }

    async fn recent_fires(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Sample<FireFigures>, StoreError> {
        self.bounded(fires(self, since, limit)).await
    }

    async fn sample_schedules(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Sample<ScheduleRecord>, StoreError> {
        self.bounded(sample::sample(self, before, limit)).await
    }

    async fn load_figures(&self, cap: u32) -> Result<LoadFigures, StoreError> {
        self.bounded(load(self, cap)).await
    }
}

async fn deployment(
    store: &PostgresStore,
    id: DeploymentId,
    since: Timestamp,
    limit: u32,
    cap: u32,
) -> Result<DeploymentFigures, StoreError> {
    let id = id.to_string();
    let (pending, running, waiting): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'PENDING'), \
                count(*) FILTER (WHERE status = 'RUNNING'), \
                count(*) FILTER (WHERE status = 'WAITING') \
         FROM (SELECT status FROM executions WHERE deployment_id = $1 LIMIT $2) e",
    )
    .bind(&id)
    .bind(i64::from(cap) + 1)
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)?;
    let whole = counter(pending + running + waiting);
    let rows: Vec<(String, PgTime, Option<PgTime>, PgTime)> = sqlx::query_as(
        "SELECT status, created_at, started_at, ended_at FROM executions_ended \
         WHERE deployment_id = $1 AND id >= $2 AND created_at >= $3 \
           AND ended_day >= date '1970-01-01' + $4 \
         ORDER BY id DESC LIMIT $5",
    )
    .bind(&id)
    .bind(ExecutionId::lower_bound(since).to_string())
    .bind(PgTime(since))
    .bind(first_day(since))
    .bind(i64::from(limit) + 1)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let cut = rows.len() > limit as usize;
    let ended = rows
        .into_iter()
        .take(limit as usize)
        .map(|(status, created, started, ended)| {
            Ok(EndedFigures {
                status: parsed(&status)?,
                created_at: created.0,
                started_at: started.map(|at| at.0),
                ended_at: ended.0,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let next: Vec<(String, PgTime, PgTime)> = sqlx::query_as(
        "SELECT trigger_id, next_nominal, next_effective FROM schedules \
         WHERE deployment_id = $1 AND next_nominal IS NOT NULL AND next_effective IS NOT NULL \
         ORDER BY next_effective, trigger_id LIMIT 10",
    )
    .bind(&id)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(DeploymentFigures {
        pending: Count::part(counter(pending), whole, cap),
        running: Count::part(counter(running), whole, cap),
        waiting: Count::part(counter(waiting), whole, cap),
        ended,
        cut,
        next_fires: next
            .into_iter()
            .map(|(trigger, nominal, effective)| {
                Ok(NextFire {
                    trigger_id: parsed(&trigger)?,
                    nominal_at: nominal.0,
                    effective_at: effective.0,
                })
            })
            .collect::<Result<_, StoreError>>()?,
    })
}

async fn schedules(store: &PostgresStore, cap: u32) -> Result<ScheduleFigures, StoreError> {
    // The status is looked up row by row: a join might read all workflows.
    let (now, finished, active, paused): (PgTime, i64, i64, i64) = sqlx::query_as(
        "SELECT statement_timestamp(), count(*) FILTER (WHERE finished), \
                count(*) FILTER (WHERE NOT finished AND live), \
                count(*) FILTER (WHERE NOT finished AND NOT live) \
         FROM (SELECT due_at IS NULL AS finished, \
                      (SELECT deployment_status = 'DEPLOYED' FROM workflows w \
                       WHERE w.deployment_id = s.deployment_id) AS live \
               FROM (SELECT due_at, deployment_id FROM schedules LIMIT $1) s) counted",
    )
    .bind(i64::from(cap) + 1)
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)?;
    let whole = counter(finished + active + paused);
    let (due, due_since): (i64, Option<PgTime>) = sqlx::query_as(
        "SELECT count(*), min(due_at) FROM \
             (SELECT due_at FROM schedules WHERE due_at <= statement_timestamp() \
              ORDER BY due_at LIMIT $1) s",
    )
    .bind(i64::from(cap) + 1)
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(ScheduleFigures {
        now: now.0,
        active: Count::part(counter(active), whole, cap),
        paused: Count::part(counter(paused), whole, cap),
        finished: Count::part(counter(finished), whole, cap),
        due: Count::capped(counter(due), cap),
        due_since: due_since.map(|at| at.0),
    })
}

async fn fires(
    store: &PostgresStore,
    since: Timestamp,
    limit: u32,
) -> Result<Sample<FireFigures>, StoreError> {
    type Row = (String, i64, PgTime, PgTime, PgTime, PgTime, String, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT trigger_id, count, nominal_at, until_at, effective_at, decided_at, outcome, \
             waiting \
         FROM fires \
         WHERE decided_at >= $1 ORDER BY decided_at DESC LIMIT $2",
    )
    .bind(PgTime(since))
    .bind(i64::from(limit) + 1)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let estimate = (rows.len() > limit as usize).then_some(u64::from(limit) + 1);
    let items = rows
        .into_iter()
        .take(limit as usize)
        .map(
            |(trigger, count, nominal, until, effective, decided, outcome, waiting)| {
                Ok(FireFigures {
                    trigger_id: parsed(&trigger)?,
                    count: counter(count),
                    nominal_at: nominal.0,
                    until_at: until.0,
                    effective_at: effective.0,
                    decided_at: decided.0,
                    outcome: parsed::<FireOutcome>(&outcome)?.or_waiting(waiting),
                })
            },
        )
        .collect::<Result<_, StoreError>>()?;
    Ok(Sample { items, estimate })
}

async fn load(store: &PostgresStore, cap: u32) -> Result<LoadFigures, StoreError> {
    let instances: Vec<(String, PgTime, i64)> = sqlx::query_as(
        "SELECT i.id, i.created_at, \
                (SELECT count(*) FROM (SELECT FROM executions e WHERE e.owner = i.id LIMIT $1) o) \
         FROM incarnations i WHERE i.expires_at > clock_timestamp() ORDER BY i.id LIMIT 100",
    )
    .bind(i64::from(cap) + 1)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let (due, due_since, unowned, backing_off): (i64, Option<PgTime>, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE wake_at <= statement_timestamp()), \
                min(wake_at) FILTER (WHERE wake_at <= statement_timestamp()), count(*), \
                count(*) FILTER (WHERE failed_starts > 0) \
         FROM (SELECT wake_at, failed_starts FROM executions WHERE owner IS NULL \
               ORDER BY wake_at, id LIMIT $1) e",
    )
    .bind(i64::from(cap) + 1)
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(LoadFigures {
        instances: instances
            .into_iter()
            .map(|(id, since, running)| {
                Ok(InstanceFigures {
                    id: parsed(&id)?,
                    since: since.0,
                    running: Count::capped(counter(running), cap),
                })
            })
            .collect::<Result<_, StoreError>>()?,
        due: Count::capped(counter(due), cap),
        unowned: Count::capped(counter(unowned), cap),
        backing_off: Count::part(counter(backing_off), counter(unowned), cap),
        due_since: due_since.map(|at| at.0),
    })
}
