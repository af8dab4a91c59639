//! The service's own periodic jobs, on tokio-cron-scheduler: taking over what
//! dead processes owned, publishing what they left, and retention. Schedules of
//! workflows are not here: those are rows in the database that all instances
//! share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_types::{ExecutionId, Timestamp};
use tokio::time::{Instant, sleep};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::event::emit;
use crate::execution::{ExecutionCoordinator, overdue};
use crate::metrics;
use crate::monitoring::CAP;
use crate::schedule::DRIFTING;

/// Executions taken over in one transaction.
const TAKEOVER_BATCH: u32 = 500;

/// How often partitions are made and old rows go.
const MAINTENANCE: Duration = Duration::from_mins(10);

/// How often free slots are looked for that nobody has handed on: an end does
/// so by itself, unless its process dies at that moment; a new limit does not.
const SLOTS: Duration = Duration::from_secs(2);

/// How often events are looked for that their publisher has left.
const EMITTED: Duration = Duration::from_secs(2);

/// How often schedules that stray are looked for.
const DRIFT: Duration = Duration::from_secs(10);

/// How often what is past a deadline is ended, whoever has room.
const OVERDUE: Duration = Duration::from_secs(1);

/// How often what waits is counted.
const LOAD: Duration = Duration::from_secs(10);

/// When they do so first: a process that never lives for long keeps up, too.
const MAINTENANCE_SOON: Duration = Duration::from_secs(5);

/// How long one run of it takes at most; what is left waits for the next.
const MAINTENANCE_FOR: Duration = Duration::from_mins(5);

/// The pause after a step, which is as long as the step was, within these
/// bounds: half of a database's time at least is for others.
const MAINTENANCE_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Runs the jobs until `stop`.
pub(crate) async fn run(
    coordinator: Arc<ExecutionCoordinator>,
    stop: CancellationToken,
) -> Result<(), JobSchedulerError> {
    let mut scheduler = JobScheduler::new().await?;
    let ttl = coordinator.config.lease_ttl;
    let strayed = Arc::new(AtomicUsize::new(0));
    let suspects = Arc::new(tokio::sync::Mutex::new(HashSet::new()));
    let of = &coordinator;
    // A first run that takes long is not joined by the next.
    let maintaining = Arc::new(tokio::sync::Mutex::new(()));
    let stops = stop.clone();
    let maintenance = move |c: Arc<ExecutionCoordinator>| {
        let (maintaining, stop) = (Arc::clone(&maintaining), stops.clone());
        async move {
            if let Ok(_alone) = maintaining.try_lock_owned() {
                maintain(&c, &stop).await;
            }
        }
    };
    let jobs = [
        repeated((ttl / 4).max(Duration::from_secs(1)), of, |c| async move {
            take_over(&c).await;
        }),
        repeated(EMITTED, of, |c| async move {
            emit::publish_left(&c).await;
        }),
        once(MAINTENANCE_SOON, of, maintenance.clone()),
        repeated(MAINTENANCE, of, maintenance),
        repeated(SLOTS, of, |c| async move { fill_slots(&c).await }),
        repeated(DRIFT, of, move |c| {
            let strayed = Arc::clone(&strayed);
            async move { drift(&c, &strayed).await }
        }),
        repeated(OVERDUE, of, |c| async move { overdue::sweep(&c).await }),
        repeated(LOAD, of, |c| async move { load(&c).await }),
        repeated(ttl, of, move |c| {
            let suspects = Arc::clone(&suspects);
            async move { reconcile(&c, &mut *suspects.lock().await).await }
        }),
    ];
    for job in jobs {
        scheduler.add(job?).await?;
    }
    scheduler.start().await?;
    stop.cancelled().await;
    scheduler.shutdown().await
}

/// A job that does `work` again and again.
fn repeated<F, Fut>(
    every: Duration,
    coordinator: &Arc<ExecutionCoordinator>,
    work: F,
) -> Result<Job, JobSchedulerError>
where
    F: Fn(Arc<ExecutionCoordinator>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Job::new_repeated_async(every, turn(coordinator, work))
}

/// The same for work that is done once, `after` the start.
fn once<F, Fut>(
    after: Duration,
    coordinator: &Arc<ExecutionCoordinator>,
    work: F,
) -> Result<Job, JobSchedulerError>
where
    F: Fn(Arc<ExecutionCoordinator>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Job::new_one_shot_async(after, turn(coordinator, work))
}

/// Does `work` as long as the coordinator lives, unless it is still at work.
/// The coordinator is held weakly: the scheduler may hold on to its jobs after
/// its end, and what refers to the coordinator keeps the committers waiting
/// for writes.
fn turn<Id, F, Fut>(
    coordinator: &Arc<ExecutionCoordinator>,
    work: F,
) -> impl FnMut(Id, JobScheduler) -> BoxFuture<'static, ()> + Send + Sync + 'static
where
    F: Fn(Arc<ExecutionCoordinator>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let coordinator = Arc::downgrade(coordinator);
    let at_work = Arc::new(tokio::sync::Mutex::new(()));
    move |_, _| {
        let alone = Arc::clone(&at_work).try_lock_owned();
        let work = coordinator.upgrade().map(&work);
        Box::pin(async move {
            if let (Ok(_alone), Some(work)) = (alone, work) {
                work.await;
            }
        })
    }
}

async fn take_over(coordinator: &ExecutionCoordinator) {
    loop {
        match coordinator.store.take_over_expired(TAKEOVER_BATCH).await {
            Ok(0) => return,
            Ok(count) => {
                metrics::taken_over(count);
                info!(
                    executions = count,
                    "took {count} executions over from dead processes"
                );
                coordinator.due.notify_one();
                if count < u64::from(TAKEOVER_BATCH) {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "dead processes could not be looked for");
                return;
            }
        }
    }
}

async fn fill_slots(coordinator: &ExecutionCoordinator) {
    let mut after = None;
    loop {
        match coordinator.store.fill_slots(after.as_ref()).await {
            Ok((due, next)) => {
                if due > 0 {
                    coordinator.due.notify_one();
                }
                if next.is_none() {
                    return;
                }
                after = next;
            }
            Err(error) => {
                warn!(%error, "free slots could not be handed out");
                return;
            }
        }
    }
}

async fn reconcile(coordinator: &ExecutionCoordinator, suspects: &mut HashSet<(ExecutionId, u64)>) {
    match coordinator.reconcile(suspects).await {
        Ok(now) => *suspects = now,
        Err(error) => warn!(%error, "owned executions could not be looked for"),
    }
}

/// `strayed` is how many did so the last time: it is said when there are more.
async fn drift(coordinator: &ExecutionCoordinator, strayed: &AtomicUsize) {
    match coordinator.store.drifting(DRIFTING).await {
        Ok(straying) => {
            let worst = straying.iter().max_by_key(|s| s.drift.unsigned_abs());
            metrics::drifting(straying.len(), worst.map_or(0, |s| s.drift));
            let before = strayed.swap(straying.len(), Ordering::Relaxed);
            if let Some(worst) = worst
                && straying.len() > before
            {
                let (id, off) = (worst.trigger_id, worst.drift / 1000);
                warn!(
                    trigger.id = %id,
                    drifting = straying.len(),
                    "{} schedules stray from their intervals, {id} most, by {off} ms",
                    straying.len()
                );
            }
        }
        Err(error) => warn!(%error, "schedules that stray could not be looked for"),
    }
}

async fn load(coordinator: &ExecutionCoordinator) {
    match coordinator.store.load_figures(CAP).await {
        Ok(figures) => {
            metrics::load(&figures, Timestamp::now(), coordinator.engine.is_ready());
        }
        Err(error) => warn!(%error, "what waits could not be counted"),
    }
}

async fn maintain(coordinator: &ExecutionCoordinator, stop: &CancellationToken) {
    let steps = step_by_step(stop, MAINTENANCE_FOR, || coordinator.store.maintain());
    if let Err(error) = steps.await {
        warn!(%error, "maintenance stopped early");
    }
}

/// Takes one bounded step after the other until none is left to take, `within`
/// a time, and no longer than until `stop`. Between them others have their
/// turn.
async fn step_by_step<E, Fut>(
    stop: &CancellationToken,
    within: Duration,
    mut step: impl FnMut() -> Fut,
) -> Result<(), E>
where
    Fut: Future<Output = Result<bool, E>>,
{
    let begun = Instant::now();
    loop {
        let at = Instant::now();
        if !step().await? || begun.elapsed() >= within {
            return Ok(());
        }
        let (shortest, longest) = MAINTENANCE_PAUSE;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(at.elapsed().clamp(shortest, longest)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one step lets go, as SQLite's does.
    const STEP: u64 = 200;

    /// Maintains for as long as the jobs do between two runs; what is left.
    async fn left(rows: u64, stop: &CancellationToken) -> u64 {
        let mut left = rows;
        let steps = step_by_step(stop, MAINTENANCE_FOR, || {
            left = left.saturating_sub(STEP);
            let more = left > 0;
            async move {
                sleep(Duration::from_millis(5)).await;
                Ok::<_, ()>(more)
            }
        });
        steps.await.unwrap();
        left
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_keeps_up_with_a_thousand_ends_a_second() {
        let between_runs = MAINTENANCE.as_secs() * 1_000;
        assert_eq!(left(between_runs, &CancellationToken::new()).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_without_end_leaves_the_rest_to_the_next_run() {
        let begun = Instant::now();
        assert!(left(u64::MAX, &CancellationToken::new()).await > 0);
        assert!(begun.elapsed() < MAINTENANCE);
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_ends_with_the_process() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(left(STEP * 10, &stop).await, STEP * 9);
    }
}
