//! One living instance, as its workload's task holds it.

use std::time::Instant;

use millrace_service::{CancellationToken, OnFailure};
use millrace_shim::launch::Launch;
use millrace_shim::wire::{Exit, Request, State};
use millrace_store::InstanceRecord;
use millrace_types::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::restart::End;
use crate::health::{self, CheckContext, HealthEvent};
use crate::limits::Placement;
use crate::orchestrator::Shared;
use crate::ports::{Listener, listener_of};
use crate::process::{ShimLink, Told, leftovers};
use crate::spec::ServiceSpec;

/// A process that runs, and everything that goes with it.
#[derive(Debug)]
pub(super) struct Live {
    pub record: InstanceRecord,
    pub link: ShimLink,
    pub spec: ServiceSpec,
    pub context: CheckContext,
    pub placement: Placement,
    /// Since it was ready.
    pub ready_since: Option<Instant>,
    health: Option<(mpsc::Receiver<HealthEvent>, DropGuard)>,
}

/// How the way to readiness ended.
#[derive(Debug)]
pub(super) enum Rise {
    Ready,
    /// Somebody else listens on its port.
    PortTaken,
    /// Reason and sentence.
    Failed(&'static str, String),
    Ended(Told),
}

/// What happens to an instance that runs.
#[derive(Debug)]
pub(super) enum Event {
    Ended(Told),
    Health(HealthEvent),
}

impl Live {
    pub(super) const fn new(
        record: InstanceRecord,
        link: ShimLink,
        spec: ServiceSpec,
        context: CheckContext,
        placement: Placement,
    ) -> Self {
        Self {
            record,
            link,
            spec,
            context,
            placement,
            ready_since: None,
            health: None,
        }
    }

    /// An instance that has run since before this process.
    pub(super) fn adopted(
        shared: &Shared,
        record: InstanceRecord,
        link: ShimLink,
        spec: ServiceSpec,
    ) -> Self {
        let run_dir = shared.run_dir(record.id);
        let (working_dir, env) = match Launch::read(&run_dir) {
            Ok(launch) => {
                let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
                let env = launch.env.into_iter().map(|(n, v)| (text(n), text(v)));
                (launch.working_dir, env.collect())
            }
            Err(_) => (run_dir, super::inherited()),
        };
        let context = CheckContext {
            port: record.port.unwrap_or(0),
            working_dir,
            env,
        };
        let placement = Placement::find(&shared.host, &record.id.to_string());
        Self::new(record, link, spec, context, placement)
    }

    /// Waits until it is ready: its port is open, and its probes say so.
    pub(super) async fn rise(&mut self) -> Rise {
        let Self {
            link,
            spec,
            context,
            record,
            ..
        } = self;
        let pid = record.pid;
        tokio::select! {
            biased;
            told = link.ended() => Rise::Ended(told),
            rise = rise(spec, context, pid) => rise,
        }
    }

    /// Begins to probe.
    pub(super) fn observe(&mut self, shared: &Shared) {
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
            .spawn("probes", OnFailure::Log, |end| async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = health::observe(health, context, events, observed) => {}
                }
                Ok::<(), std::convert::Infallible>(())
            });
        self.health = Some((receiver, stop.drop_guard()));
    }

    /// What happens next. Can be dropped at any time, and loses nothing.
    pub(super) async fn event(&mut self) -> Event {
        let Self { link, health, .. } = self;
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
            told = link.ended() => Event::Ended(told),
            event = change => Event::Health(event),
        }
    }

    /// Asks it to stop.
    pub(super) async fn ask_to_stop(&mut self) {
        self.health = None;
        let grace = self.spec.stop.grace.as_millis();
        let request = Request::Stop {
            signal: self.spec.stop.signal,
            grace_ms: u64::try_from(grace).unwrap_or(u64::MAX),
        };
        self.link.ask(request).await;
    }

    /// It is over: the row as it is to be stored, and what there is to know
    /// for what comes next. `reason` is why it was ended, where it was.
    pub(super) async fn close(self, told: &Told, reason: &str) -> (InstanceRecord, End) {
        let ran = self.ready_since.map(|since| since.elapsed());
        close(self.record, self.placement, told, reason, ran).await
    }
}

/// The same of one that has ended while this process was away.
pub(super) async fn close_record(
    shared: &Shared,
    record: InstanceRecord,
    told: &Told,
) -> (InstanceRecord, End) {
    let placement = Placement::find(&shared.host, &record.id.to_string());
    // How long it was ready is not known; it was there that long.
    let ran = match told {
        Told::State(State::Exited(exit)) => {
            Some(Timestamp::from_micros(exit.at).saturating_since(record.started_at))
        }
        _ => None,
    };
    close(record, placement, told, "", ran).await
}

async fn close(
    mut record: InstanceRecord,
    placement: Placement,
    told: &Told,
    reason: &str,
    ran: Option<std::time::Duration>,
) -> (InstanceRecord, End) {
    let exit = match told {
        Told::State(State::Exited(exit)) => *exit,
        _ => Exit {
            code: None,
            signal: None,
            at: Timestamp::now().as_micros(),
            lost: 0,
        },
    };
    if *told == Told::Lost {
        leftovers::kill(record.id).await;
    }
    let out_of_memory = placement.out_of_memory();
    record.ended_at = Some(Timestamp::from_micros(exit.at));
    record.exit_code = exit.code;
    record.signal = exit.signal;
    record.reason = match (reason, out_of_memory, told) {
        ("", true, _) => "out-of-memory",
        ("", false, Told::Lost) => "lost",
        (reason, ..) => reason,
    }
    .to_owned();
    placement.remove().await;
    let end = End {
        code: exit.code,
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
    if let Some(probe) = &spec.health.readiness {
        let ready = health::succeeded(probe, context);
        if tokio::time::timeout(health::START_TIME, ready)
            .await
            .is_err()
        {
            let message = "the readiness probe has not succeeded within a minute".to_owned();
            return Rise::Failed("not-ready", message);
        }
    }
    Rise::Ready
}

/// Waits until the tree of `pid` listens on the port.
async fn own_port(port: u16, pid: Option<u32>, until: tokio::time::Instant) -> Option<Rise> {
    let mut pause = std::time::Duration::from_millis(5);
    loop {
        let look = tokio::task::spawn_blocking(move || {
            let pid = pid?;
            let mut tree = millrace_shim::tree::descendants(pid);
            tree.push(pid);
            Some(listener_of(port, &tree))
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
        pause = (pause * 2).min(std::time::Duration::from_millis(100));
    }
}
