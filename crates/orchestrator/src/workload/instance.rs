//! One living instance, as its workload's task holds it.

use std::time::{Duration, Instant};

use millrace_service::{CancellationToken, OnFailure};
use millrace_store::InstanceRecord;
use millrace_types::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::restart::End;
use crate::backend::{Ended, Exit, Instance};
use crate::health::{self, CheckContext, HealthEvent};
use crate::orchestrator::Shared;
use crate::ports::{Listener, listener_of};
use crate::process::members;
use crate::spec::ServiceSpec;

/// A process that runs, and everything that goes with it.
#[derive(Debug)]
pub(super) struct Live {
    pub record: InstanceRecord,
    pub instance: Box<dyn Instance>,
    pub spec: ServiceSpec,
    pub context: CheckContext,
    /// Since it was ready.
    pub ready_since: Option<Instant>,
    health: Option<(mpsc::Receiver<HealthEvent>, DropGuard)>,
}

/// How the way to readiness ended.
#[derive(Debug)]
pub(super) enum Rise {
    Ready,
    /// It has started, and its readiness probe fails, with this reason.
    Unready(String),
    /// Somebody else listens on its port.
    PortTaken,
    /// Reason and sentence.
    Failed(&'static str, String),
    Ended(Option<Exit>),
}

/// What happens to an instance that runs.
#[derive(Debug)]
pub(super) enum Event {
    Ended(Option<Exit>),
    Health(HealthEvent),
}

impl Live {
    pub(super) fn new(
        record: InstanceRecord,
        instance: Box<dyn Instance>,
        spec: ServiceSpec,
    ) -> Self {
        let surroundings = instance.surroundings();
        let context = CheckContext {
            port: record.port.unwrap_or(0),
            working_dir: surroundings.working_dir,
            env: surroundings.env,
            user: surroundings.user,
        };
        Self {
            record,
            instance,
            spec,
            context,
            ready_since: None,
            health: None,
        }
    }

    /// Waits until it is ready: its port is open, and its probes say so.
    pub(super) async fn rise(&mut self) -> Rise {
        let Self {
            instance,
            spec,
            context,
            record,
            ..
        } = self;
        let pid = record.pid;
        tokio::select! {
            biased;
            exit = instance.observe() => Rise::Ended(exit),
            rise = rise(spec, context, pid) => rise,
        }
    }

    /// Waits until one that was not ready is, however long that takes.
    pub(super) async fn become_ready(&mut self) -> Rise {
        let Self {
            instance,
            spec,
            context,
            ..
        } = self;
        let ready = async {
            if let Some(probe) = &spec.health.readiness {
                health::succeeded(probe, context).await;
            }
        };
        tokio::select! {
            biased;
            exit = instance.observe() => Rise::Ended(exit),
            reason = health::died(&spec.health, context) => dead(&reason),
            () = ready => Rise::Ready,
        }
    }

    /// Begins to probe one that is said to be ready, or not to be.
    pub(super) fn observe(&mut self, shared: &Shared, is_ready: bool) {
        self.ready_since.get_or_insert_with(Instant::now);
        let health = self.spec.health.clone();
        if self.health.is_some() || (health.readiness.is_none() && health.liveness.is_none()) {
            return;
        }
        let (events, receiver) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let context = self.context.clone();
        let observed = stop.clone();
        shared
            .tasks
            .spawn("probes", OnFailure::Log, move |end| async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = health::observe(health, is_ready, context, events, observed) => {}
                }
                Ok::<(), std::convert::Infallible>(())
            });
        self.health = Some((receiver, stop.drop_guard()));
    }

    /// What happens next. Can be dropped at any time, and loses nothing.
    pub(super) async fn event(&mut self) -> Event {
        let Self {
            instance, health, ..
        } = self;
        let change = async {
            match health {
                Some((receiver, _)) => match receiver.recv().await {
                    Some(event) => event,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            exit = instance.observe() => Event::Ended(exit),
            event = change => Event::Health(event),
        }
    }

    /// Asks it to stop.
    pub(super) async fn ask_to_stop(&mut self) {
        self.health = None;
        let stop = &self.spec.stop;
        self.instance.stop(stop.signal, stop.grace).await;
    }

    /// It is over: the row as it is to be stored, and what there is to know
    /// for what comes next. `reason` is why it was ended, where it was.
    pub(super) async fn close(self, exit: Option<Exit>, reason: &str) -> (InstanceRecord, End) {
        let ran = self.ready_since.map(|since| since.elapsed());
        let ended = self.instance.close(exit).await;
        closed(self.record, &ended, reason, ran)
    }
}

/// The same of one that has been closed; `ran` is how long it was ready.
pub(super) fn closed(
    mut record: InstanceRecord,
    ended: &Ended,
    reason: &str,
    ran: Option<Duration>,
) -> (InstanceRecord, End) {
    let exit = ended.exit;
    record.ended_at = Some(exit.map_or_else(Timestamp::now, |exit| exit.at));
    record.exit_code = exit.and_then(|exit| exit.code);
    record.signal = exit.and_then(|exit| exit.signal);
    let reason_told = match (reason, ended.out_of_memory, exit) {
        ("", true, _) => "out-of-memory",
        ("", false, None) => "lost",
        (reason, ..) => reason,
    };
    reason_told.clone_into(&mut record.reason);
    let end = End {
        code: record.exit_code,
        ran,
        unhealthy: reason == "unhealthy",
    };
    (record, end)
}

async fn rise(spec: &ServiceSpec, context: &CheckContext, pid: Option<u32>) -> Rise {
    let until = tokio::time::Instant::now() + health::start_time(&spec.health);
    if context.port != 0
        && let Some(rise) = own_port(context.port, pid, until).await
    {
        return rise;
    }
    if let Some(probe) = &spec.health.startup
        && let Err(reason) = health::started(probe, context).await
    {
        return Rise::Failed(
            "startup-failed",
            format!("the startup probe failed: {reason}"),
        );
    }
    let Some(probe) = &spec.health.readiness else {
        return Rise::Ready;
    };
    tokio::select! {
        reason = health::died(&spec.health, context) => dead(&reason),
        ready = health::ready(probe, context) => match ready {
            Ok(()) => Rise::Ready,
            Err(reason) => Rise::Unready(reason),
        },
    }
}

fn dead(reason: &str) -> Rise {
    Rise::Failed("unhealthy", format!("the liveness probe failed: {reason}"))
}

/// Waits until the instance whose first process this is listens on the port.
async fn own_port(port: u16, pid: Option<u32>, until: tokio::time::Instant) -> Option<Rise> {
    let mut pause = Duration::from_millis(5);
    loop {
        let look = tokio::task::spawn_blocking(move || {
            let all = members(pid?);
            Some(listener_of(port, &all))
        });
        match look.await.ok().flatten() {
            Some(Listener::Ours) => return None,
            Some(Listener::Foreign) => return Some(Rise::PortTaken),
            Some(Listener::Nobody) | None => {}
        }
        if tokio::time::Instant::now() >= until {
            return Some(Rise::Failed(
                "port-not-opened",
                format!(
                    "it does not listen on port {port}, which is in PORT (say \"port\": false \
                     for a service that does not listen)"
                ),
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
