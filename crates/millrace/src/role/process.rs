//! The life of a process: listeners, workers, readiness, signals, the end.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use millrace_service::access::Guard;
use millrace_service::admin::{self, Readiness};
use millrace_service::signal::StopSignals;
use millrace_service::tls::Tls;
use millrace_service::{OnFailure, StopReason, TaskGroup, http, metrics};
use tokio::net::TcpListener;

use super::RoleError;
use super::exposure::is_local;

/// How long requests that were taken may still run once listeners are closed.
const LISTENERS_GRACE: Duration = Duration::from_secs(10);
/// How long tasks may take to end once nothing is left to do.
const WORKERS_GRACE: Duration = Duration::from_secs(5);

/// What every role has. The signals are listened for from the start, so that
/// none is lost while it starts.
#[derive(Debug)]
pub struct Process {
    /// What takes work from outside: stopped first.
    pub listeners: TaskGroup,
    /// What does the work: stopped once the work has been handed over.
    pub workers: TaskGroup,
    pub readiness: Readiness,
    signals: StopSignals,
}

impl Process {
    pub fn new() -> Result<Self, RoleError> {
        Ok(Self {
            listeners: TaskGroup::new(),
            workers: TaskGroup::new(),
            readiness: Readiness::new(),
            signals: StopSignals::listen().map_err(RoleError::Start)?,
        })
    }

    /// Serves `/livez`, `/readyz` and `/metrics` if there is an address for
    /// them. They stay until the very end, hence among the workers.
    pub async fn serve_admin(
        &self,
        role: &'static str,
        key: &'static str,
        address: Option<SocketAddr>,
        guard: Guard,
    ) -> Result<(), RoleError> {
        self.serve_admin_with(role, key, address, guard, Router::new())
            .await
    }

    /// The same, with further routes. Where others than this machine reach it,
    /// `guard` says who may change anything.
    pub async fn serve_admin_with(
        &self,
        role: &'static str,
        key: &'static str,
        address: Option<SocketAddr>,
        guard: Guard,
        routes: Router,
    ) -> Result<(), RoleError> {
        if let Some(address) = address {
            let (listener, at) = bind(key, address).await?;
            let router = admin::router(role, env!("CARGO_PKG_VERSION"), self.readiness.clone());
            let mut router = router.merge(routes);
            if !is_local(at) {
                router = admin::guarded(router, guard);
            }
            self.workers.spawn("admin", OnFailure::StopService, |stop| {
                http::serve(listener, router, stop)
            });
            tracing::info!(%at, "/livez, /readyz and /metrics are on {at}");
        }
        Ok(())
    }

    /// Reads the files of `tls` again whenever they change.
    pub fn follow_tls(&self, tls: &Tls) {
        let tls = tls.clone();
        self.workers
            .spawn("tls", OnFailure::Log, |stop| tls.follow(stop));
    }

    /// Keeps the figures of this process small, and calls `sample` every few
    /// seconds for those that have to be looked at.
    pub fn keep_metrics(&self, sample: impl Fn() + Send + 'static) {
        self.workers
            .spawn("metrics", OnFailure::Log, |stop| async move {
                metrics::keep(stop, sample).await;
                Ok::<_, std::convert::Infallible>(())
            });
    }

    /// Runs until a signal or a failure, then stops: what `retire` does while
    /// the listeners still listen, then the listeners, then what `hand_over`
    /// does with work that still runs, then the workers. A second signal ends
    /// it at once.
    pub async fn run(
        mut self,
        retire: impl Future<Output = ()>,
        hand_over: impl Future<Output = ()>,
    ) -> Result<(), RoleError> {
        self.readiness.ready();
        let reason = tokio::select! {
            signal = self.signals.next() => {
                tracing::info!(signal, "{signal}: stopping");
                StopReason::Asked
            }
            reason = self.listeners.stopped() => reason,
            reason = self.workers.stopped() => reason,
        };
        self.readiness.not_ready("stopping");
        tokio::select! {
            () = stop(&self.listeners, &self.workers, retire, hand_over) => {}
            signal = self.signals.next() => {
                tracing::warn!(signal, "{signal} again: not waiting any longer");
            }
        }
        match reason {
            StopReason::Asked => Ok(()),
            StopReason::TaskFailed { task, error } => Err(RoleError::Task { task, error }),
        }
    }
}

async fn stop(
    listeners: &TaskGroup,
    workers: &TaskGroup,
    retire: impl Future<Output = ()>,
    hand_over: impl Future<Output = ()>,
) {
    retire.await;
    tracing::info!("closing the listeners; requests under way have {LISTENERS_GRACE:?} to end");
    listeners.stop();
    let left = listeners.drain(LISTENERS_GRACE).await;
    if !left.is_empty() {
        tracing::warn!(tasks = ?left, "requests still run and are cut off");
    }
    tracing::info!("the listeners are closed");
    hand_over.await;
    tracing::info!("ending what runs in the background");
    workers.stop();
    let left = workers.drain(WORKERS_GRACE).await;
    if left.is_empty() {
        tracing::info!("stopped");
    } else {
        tracing::warn!(tasks = ?left, "stopped without waiting for {} tasks", left.len());
    }
}

/// Listens on `address`, the value of `key`; also says where, as port 0 takes
/// any that is free.
pub async fn bind(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), RoleError> {
    let failed = |reason| RoleError::Bind {
        key,
        address,
        reason,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
