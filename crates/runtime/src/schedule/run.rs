//! The loop that fires what is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use millrace_schedule::{TriggerSchedule, TriggerTiming};
use millrace_store::{FireOutcome, FireRecord, ScheduleRecord, StoreError};
use millrace_types::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::CronScheduler;
use super::plan::Planner;
use crate::metrics;

/// Schedules claimed in one transaction.
const BATCH: u32 = 100;

/// Decisions under way at once: each is a transaction on a connection.
const AT_ONCE: usize = 4;

/// How long claimed schedules are held back from other instances. Longer than
/// a batch takes; well below any sensible start deadline, since what a dead
/// instance has claimed waits for its end.
const HOLD: Duration = Duration::from_secs(5);

/// Backfills carried on in one pass.
const BACKFILLS: u32 = 20;

/// Fires until `stop`, as long as the scheduler's switch is on.
pub(crate) async fn schedule_loop(scheduler: Arc<CronScheduler>, stop: CancellationToken) {
    let mut looked: Option<Instant> = None;
    loop {
        // The database obeys the switch by itself; this is to tell of it.
        if looked.is_none_or(|at| at.elapsed() >= scheduler.poll) {
            match scheduler.coordinator.store.scheduler().await {
                Ok(state) => scheduler.obey(&state),
                Err(error) => warn!(%error, "the scheduler's switch could not be read"),
            }
            looked = Some(Instant::now());
        }
        let ticked = tokio::select! {
            () = stop.cancelled() => return,
            ticked = scheduler.tick() => ticked,
        };
        scheduler.passed(ticked.as_ref().err());
        let pause = match ticked {
            Ok(pause) => pause.min(scheduler.poll),
            Err(error) => {
                warn!(%error, "due schedules could not be claimed");
                scheduler.poll
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = scheduler.wake.notified() => looked = None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl CronScheduler {
    /// Decides about all that is due; answers when to look again.
    async fn tick(&self) -> Result<Duration, StoreError> {
        let store = &self.coordinator.store;
        let began = Instant::now();
        loop {
            let due = store.claim_schedules(BATCH, HOLD).await?;
            metrics::schedules_claimed(due.schedules.len());
            let full = due.schedules.len() >= BATCH as usize;
            let now = due.now;
            futures::stream::iter(&due.schedules)
                .for_each_concurrent(AT_ONCE, |record| self.decide(record, now))
                .await;
            // What is due goes before what was.
            if !full {
                metrics::ticked(began.elapsed());
                break;
            }
        }
        let due = store.claim_backfills(BACKFILLS, HOLD).await?;
        for record in &due.backfills {
            self.backfill(record, due.now).await;
        }
        Ok(store.next_schedule_due().await?.unwrap_or(self.poll))
    }

    /// What fails here comes up again when the hold ends.
    async fn decide(&self, record: &ScheduleRecord, now: Timestamp) {
        let id = record.trigger_id;
        let trigger = match read(record) {
            Ok(trigger) => trigger,
            Err(why) => {
                warn!(trigger.id = %id, "schedule {id} cannot be read: {why}");
                return;
            }
        };
        let planner = Planner::new(record, &trigger);
        let decision = match trigger.timing {
            TriggerTiming::After { after } => match self.last_run(record).await {
                Ok(last) => planner.decide_chain(after, last, now),
                Err(error) => {
                    warn!(trigger.id = %id, %error, "the last run of {id} could not be read");
                    return;
                }
            },
            _ => planner.decide(now),
        };
        match self.coordinator.store.decide(&decision).await {
            Ok(Some(fires)) => {
                // What starts is due, and so is what was asked to end.
                let acts = |fire: &FireRecord| {
                    matches!(fire.outcome, FireOutcome::Fired | FireOutcome::Queued)
                };
                if fires.iter().any(acts) {
                    self.coordinator.due.notify_one();
                }
                for fire in &fires {
                    metrics::fire(fire, now);
                    log(fire);
                }
            }
            // Someone else has decided, or the trigger has changed.
            Ok(None) => {}
            Err(error) => {
                warn!(trigger.id = %id, %error, "schedule {id} could not be advanced");
            }
        }
    }
}

/// The stored trigger, which was checked when it was deployed.
pub(crate) fn read(record: &ScheduleRecord) -> Result<TriggerSchedule, String> {
    let value = serde_json::from_str(&record.spec_json).map_err(|error| error.to_string())?;
    TriggerSchedule::parse(&value, "").map_err(|findings| {
        let texts: Vec<_> = findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.pointer, finding.message))
            .collect();
        texts.join("; ")
    })
}

pub(super) fn log(fire: &FireRecord) {
    let (id, nominal, effective) = (fire.trigger_id, fire.nominal_at, fire.effective_at);
    match (fire.outcome, fire.execution_id) {
        (FireOutcome::Fired, Some(execution)) => info!(
            trigger.id = %id,
            fire.nominal_at = %nominal,
            fire.effective_at = %effective,
            execution.id = %execution,
            "schedule {id} fired for {nominal}"
        ),
        (FireOutcome::Queued, _) => info!(
            trigger.id = %id,
            fire.nominal_at = %nominal,
            fire.effective_at = %effective,
            "schedule {id} is to fire for {nominal}, and {}", fire.reason
        ),
        (outcome, _) => info!(
            trigger.id = %id,
            fire.nominal_at = %nominal,
            fire.effective_at = %effective,
            count = fire.count,
            "schedule {id} did not run for {nominal}: {outcome}, {}", fire.reason
        ),
    }
}
