//! Probes of instances. Each instance has a task of its own, so that a probe
//! that hangs delays nobody else.

mod check;

use std::time::Duration;

use millrace_service::CancellationToken;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use check::{CheckContext, check};

use crate::spec::{Health, Probe};

/// What the probes of an instance have found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HealthEvent {
    Ready(bool),
    /// It has failed its liveness probe, with the last reason.
    Dead(String),
}

/// Waits until the startup probe has succeeded; the reason when it has failed
/// too often.
pub(crate) async fn started(probe: &Probe, context: &CheckContext) -> Result<(), String> {
    watch(probe, context, true).await
}

/// Waits until the readiness probe has succeeded; the reason when it has
/// failed so often that the instance is not ready, for now.
pub(crate) async fn ready(probe: &Probe, context: &CheckContext) -> Result<(), String> {
    watch(probe, context, true).await
}

/// Waits until the probe has succeeded, without an end.
pub(crate) async fn succeeded(probe: &Probe, context: &CheckContext) {
    while watch(probe, context, true).await.is_err() {}
}

/// Waits until the liveness probe has failed too often; the last reason.
pub(crate) async fn died(health: &Health, context: &CheckContext) -> String {
    let Some(probe) = &health.liveness else {
        return std::future::pending().await;
    };
    loop {
        if let Err(reason) = watch(probe, context, false).await {
            return reason;
        }
    }
}

/// Until it has succeeded (`until`), or failed, as often in a row as the
/// thresholds say.
async fn watch(probe: &Probe, context: &CheckContext, until: bool) -> Result<(), String> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(probe.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut successes, mut failures) = (0, 0);
    loop {
        ticks.tick().await;
        match check(probe, context).await {
            Ok(()) => {
                failures = 0;
                successes += 1;
                if until && successes >= probe.success_threshold {
                    return Ok(());
                }
            }
            Err(reason) => {
                successes = 0;
                if began.elapsed() >= probe.start_period {
                    failures += 1;
                }
                if failures >= probe.failure_threshold {
                    return Err(reason);
                }
            }
        }
    }
}

/// Probes an instance that runs until `stop`, and tells what changes since it
/// was said to be ready, or not to be.
pub(crate) async fn observe(
    health: Health,
    was_ready: bool,
    context: CheckContext,
    events: mpsc::Sender<HealthEvent>,
    stop: CancellationToken,
) {
    let readiness = async {
        let Some(probe) = &health.readiness else {
            return std::future::pending().await;
        };
        let mut is_ready = was_ready;
        loop {
            if is_ready && watch(probe, &context, false).await.is_err() {
                let _ = events.send(HealthEvent::Ready(false)).await;
            }
            succeeded(probe, &context).await;
            let _ = events.send(HealthEvent::Ready(true)).await;
            is_ready = true;
        }
    };
    let liveness = async {
        let reason = died(&health, &context).await;
        let _ = events.send(HealthEvent::Dead(reason)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = readiness => {}
        () = liveness => {}
    }
}

/// How long an instance has to open its port when no startup probe says so.
pub(crate) const START_TIME: Duration = Duration::from_mins(1);

/// How long an instance has until it has to be started.
pub(crate) fn start_time(health: &Health) -> Duration {
    health.startup.as_ref().map_or(START_TIME, |probe| {
        let tries = probe.interval.saturating_mul(probe.failure_threshold);
        (probe.start_period + tries).max(Duration::from_secs(1))
    })
}

/// How long an instance that is to replace another one has until it is ready.
pub(crate) fn replacement_time(health: &Health) -> Duration {
    let readiness = health.readiness.as_ref().map_or(START_TIME, |probe| {
        let tries = probe.success_threshold + probe.failure_threshold;
        let tries = probe.interval.saturating_mul(tries);
        probe.start_period.saturating_add(tries).max(START_TIME)
    });
    start_time(health).saturating_add(readiness)
}
