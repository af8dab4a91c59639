//! What is counted of executions, leases and schedules. Every name and label
//! of this crate is here; labels are kinds and outcomes, never ids.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use millrace_store::{AdmissionRefused, Count, FireRecord, LoadFigures, WriteRefused};
use millrace_types::{ExecutionStatus, Timestamp, TriggerKind};

const ADMITTED: &str = "millrace_executions_admitted_total";
const REFUSED: &str = "millrace_admissions_refused_total";
const CLAIMED: &str = "millrace_executions_claimed_total";
const ENDED: &str = "millrace_executions_ended_total";
const RELEASED: &str = "millrace_executions_given_back_total";
const RUN_DURATION: &str = "millrace_execution_run_duration_seconds";
const RUNNING: &str = "millrace_executions_running";
const SLOTS_FREE: &str = "millrace_execution_slots_free";
const CHECKPOINT_BYTES: &str = "millrace_checkpoint_size_bytes";
const CHECKPOINT_DURATION: &str = "millrace_checkpoint_duration_seconds";
const FENCED: &str = "millrace_writes_fenced_total";
const RENEWALS: &str = "millrace_lease_renewals_total";
const LEASES_LOST: &str = "millrace_leases_lost_total";
const TAKEN_OVER: &str = "millrace_executions_taken_over_total";
const SCHEDULES_CLAIMED: &str = "millrace_schedules_claimed_total";
const FIRES: &str = "millrace_schedule_fires_total";
const START_LAG: &str = "millrace_schedule_start_lag_seconds";
const DRIFTING: &str = "millrace_schedules_drifting";
const MAX_DRIFT: &str = "millrace_schedule_drift_max_seconds";
const SCHEDULER_RUNNING: &str = "millrace_scheduler_running";
const SCHEDULER_CHANGED: &str = "millrace_scheduler_changed_timestamp_seconds";
const DUE: &str = "millrace_executions_due";
const OLDEST_DUE: &str = "millrace_executions_oldest_due_seconds";
const BACKING_OFF: &str = "millrace_executions_backing_off";
const OVERDUE: &str = "millrace_executions_overdue_total";
const ENGINE_READY: &str = "millrace_engine_ready";
const TICK_DURATION: &str = "millrace_schedule_tick_duration_seconds";
const LAST_TICK: &str = "millrace_schedule_last_tick_timestamp_seconds";

/// Says what each one is.
pub(crate) fn describe() {
    describe_counter!(
        ADMITTED,
        "Executions admitted, by kind of trigger; fresh=\"false\" are repeats that got the first answer."
    );
    describe_counter!(REFUSED, "Admissions refused, by reason.");
    describe_counter!(
        CLAIMED,
        "Due executions that this process took from the database."
    );
    describe_counter!(ENDED, "Executions that this process ended, by status.");
    describe_counter!(
        RELEASED,
        "Runs after which an execution was given back to be tried again: its engine or the database could not go on."
    );
    describe_histogram!(
        RUN_DURATION,
        Unit::Seconds,
        "Time from taking an execution up to its end or its wait."
    );
    describe_gauge!(RUNNING, "Executions that run in this process.");
    describe_gauge!(SLOTS_FREE, "Executions that this process could run on top.");
    describe_histogram!(
        CHECKPOINT_BYTES,
        Unit::Bytes,
        "Size of the frames that a checkpoint changed."
    );
    describe_histogram!(
        CHECKPOINT_DURATION,
        Unit::Seconds,
        "Time from a checkpoint to its commit, waits in the queue included."
    );
    describe_counter!(
        FENCED,
        "Writes refused because someone else owns the execution by now."
    );
    describe_counter!(RENEWALS, "Heartbeats of this process, by outcome.");
    describe_counter!(
        LEASES_LOST,
        "Lives of this process that ended against its will."
    );
    describe_counter!(
        TAKEN_OVER,
        "Executions taken over from processes that are gone."
    );
    describe_waiting();
    describe_schedules();
}

fn describe_waiting() {
    describe_gauge!(
        DUE,
        "Executions that nobody has taken and that are due, on whichever instance; 10000 at most."
    );
    describe_gauge!(
        OLDEST_DUE,
        Unit::Seconds,
        "For how long the one that is due longest has been."
    );
    describe_gauge!(
        BACKING_OFF,
        "Executions that could not be started or gone on with and are tried again, of the 10000 that are due first."
    );
    describe_counter!(
        OVERDUE,
        "Executions that this process ended because they were past a deadline and nobody had room for them."
    );
    describe_gauge!(
        ENGINE_READY,
        "Whether this process knows an engine that takes work."
    );
}

fn describe_schedules() {
    describe_counter!(
        SCHEDULES_CLAIMED,
        "Due schedules that this process took from the database."
    );
    describe_counter!(FIRES, "Occurrences entered in the ledger, by outcome.");
    describe_histogram!(
        START_LAG,
        Unit::Seconds,
        "Time from when an occurrence was to start, after jitter, to its admission."
    );
    describe_gauge!(
        DRIFTING,
        "Schedules whose last interval strayed from its nominal one, whoever started them; 1000 at most."
    );
    describe_gauge!(
        MAX_DRIFT,
        Unit::Seconds,
        "By how much the last interval of the one that strays most did, either way."
    );
    describe_gauge!(
        SCHEDULER_RUNNING,
        "Whether the scheduler's switch, which is one for all instances, is on."
    );
    describe_gauge!(
        SCHEDULER_CHANGED,
        Unit::Seconds,
        "When the scheduler's switch was changed last, in seconds since the Unix epoch."
    );
    describe_histogram!(
        TICK_DURATION,
        Unit::Seconds,
        "Time that one pass over due schedules took."
    );
    describe_gauge!(
        LAST_TICK,
        Unit::Seconds,
        "When the last pass over due schedules ended well, in seconds since the Unix epoch."
    );
}

pub(crate) fn admitted(kind: TriggerKind, fresh: bool) {
    let fresh = if fresh { "true" } else { "false" };
    counter!(ADMITTED, "trigger" => kind.as_str(), "fresh" => fresh).increment(1);
}

pub(crate) fn admission_refused(refused: &WriteRefused) {
    let reason = match refused {
        WriteRefused::Admission(AdmissionRefused::DeploymentUnknown(_)) => "deployment-unknown",
        WriteRefused::Admission(AdmissionRefused::DeploymentNotLive(..)) => "deployment-not-live",
        WriteRefused::Admission(AdmissionRefused::TriggerStale(_)) => "trigger-stale",
        WriteRefused::Admission(AdmissionRefused::TriggerDisabled(_)) => "trigger-disabled",
        WriteRefused::Fenced(_) | WriteRefused::Rejected(_) => "rejected",
        WriteRefused::Unavailable(_) => "unavailable",
        WriteRefused::Admission(_) => "other",
    };
    counter!(REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn claimed(count: usize) {
    counter!(CLAIMED).increment(count as u64);
}

pub(crate) fn ended(status: ExecutionStatus) {
    counter!(ENDED, "status" => status.as_str()).increment(1);
}

pub(crate) fn given_back() {
    counter!(RELEASED).increment(1);
}

/// An execution that runs here: counts it while it is held.
#[derive(Debug)]
pub(crate) struct Running(std::time::Instant);

impl Running {
    pub fn begin() -> Self {
        gauge!(RUNNING).increment(1.0);
        Self(std::time::Instant::now())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1.0);
        histogram!(RUN_DURATION).record(self.0.elapsed().as_secs_f64());
    }
}

pub(crate) fn slots_free(slots: usize) {
    gauge!(SLOTS_FREE).set(f64::from(u32::try_from(slots).unwrap_or(u32::MAX)));
}

pub(crate) fn checkpointed(bytes: usize, took: Duration) {
    histogram!(CHECKPOINT_BYTES).record(f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)));
    histogram!(CHECKPOINT_DURATION).record(took.as_secs_f64());
}

pub(crate) fn fenced() {
    counter!(FENCED).increment(1);
}

pub(crate) fn lease_renewed(well: bool) {
    let outcome = if well { "renewed" } else { "failed" };
    counter!(RENEWALS, "outcome" => outcome).increment(1);
}

pub(crate) fn lease_lost() {
    counter!(LEASES_LOST).increment(1);
}

pub(crate) fn taken_over(count: u64) {
    counter!(TAKEN_OVER).increment(count);
}

pub(crate) fn schedules_claimed(count: usize) {
    counter!(SCHEDULES_CLAIMED).increment(count as u64);
}

/// `now` is the time of the decision, by the database's clock.
pub(crate) fn fire(fire: &FireRecord, now: Timestamp) {
    counter!(FIRES, "outcome" => fire.outcome.as_str()).increment(fire.count);
    if fire.execution_id.is_some() {
        let lag = now
            .as_micros()
            .saturating_sub(fire.effective_at.as_micros());
        let lag = Duration::from_micros(u64::try_from(lag).unwrap_or(0));
        histogram!(START_LAG).record(lag.as_secs_f64());
    }
}

/// Schedules that stray, and by how much the worst does, in microseconds.
pub(crate) fn drifting(count: usize, worst: i64) {
    gauge!(DRIFTING).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    let worst = Duration::from_micros(worst.unsigned_abs());
    gauge!(MAX_DRIFT).set(worst.as_secs_f64());
}

pub(crate) fn scheduler(running: bool, changed_at: Timestamp) {
    gauge!(SCHEDULER_RUNNING).set(f64::from(u8::from(running)));
    let since = u64::try_from(changed_at.as_micros()).unwrap_or(0);
    gauge!(SCHEDULER_CHANGED).set(Duration::from_micros(since).as_secs_f64());
}

/// What waits on all instances, as this one sees it at `now`.
pub(crate) fn load(figures: &LoadFigures, now: Timestamp, engine_ready: bool) {
    let count = |count: Count| f64::from(u32::try_from(count.value).unwrap_or(u32::MAX));
    gauge!(DUE).set(count(figures.due));
    gauge!(BACKING_OFF).set(count(figures.backing_off));
    let oldest = figures.due_since.map(|since| now.saturating_since(since));
    gauge!(OLDEST_DUE).set(oldest.unwrap_or_default().as_secs_f64());
    gauge!(ENGINE_READY).set(f64::from(u8::from(engine_ready)));
}

pub(crate) fn overdue(count: usize) {
    counter!(OVERDUE).increment(count as u64);
}

pub(crate) fn ticked(took: Duration) {
    histogram!(TICK_DURATION).record(took.as_secs_f64());
    if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
        gauge!(LAST_TICK).set(now.as_secs_f64());
    }
}
