//! `millrace runtime`.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_locks::{DistributedLockManager as _, RedisLocks, RedisLocksConfig};
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_runtime::{CacheProbe, EngineClient, JqSlotKeys, Runtime, RuntimeConfig};
use millrace_service::access::Guard;
use millrace_service::config::{Config, Loaded, PeerAddress, RuntimeEngine};
use millrace_service::grpc::GrpcServer;
use millrace_service::tls::Tls;
use millrace_service::transport::{InProcess, Transport};
use millrace_service::{OnFailure, TaskGroup};
use millrace_store::SlotRules;
use tokio::net::TcpListener;

use super::access::{self, Keys};
use super::data_dir::DataDir;
use super::database::{Database, OpenDatabase};
use super::process::{Process, bind};
use super::ready::announce_one;
use super::{RoleError, engine, scheduler_admin, sealing, tls};

pub async fn run(ready_json: bool, loaded: &Loaded) -> Result<(), RoleError> {
    let config = &loaded.config;
    let process = Process::new()?;
    let scheduler = scheduler_admin::Switch::default();
    let keys = Keys::default();
    let guard = access::guard(config, &keys);
    let tls = tls::of_listener(config, &process)?;
    process
        .serve_admin_with(
            "runtime",
            "runtime.admin_listen",
            config.runtime.admin_listen,
            guard.clone(),
            scheduler_admin::router(scheduler.clone()),
        )
        .await?;
    let (listener, at) = bind("runtime.listen", config.runtime.listen).await?;
    let database = Database::of(loaded)?;
    // A SQLite file has room for one process.
    let _alone = database.directory().map(DataDir::open).transpose()?;
    let database = database.open(config.database.max_connections).await?;
    database.check_schema().await?;
    process.keep_metrics(database.sampler());
    let runtime = start(config, &database, &tls, &process).await?;
    scheduler.connect(runtime.scheduler());
    keys.connect(runtime.keys());
    serve(listener, &runtime, guard, &tls, &process.listeners);
    tracing::info!(%at, "the runtime serves gRPC on {at}");
    announce_one("runtime", at, ready_json);
    process
        .run(std::future::ready(()), hand_over(runtime))
        .await?;
    database.close().await;
    tracing::info!("connections to the database are closed");
    Ok(())
}

/// Starts a runtime on `database`; what it runs in the background is spawned
/// on the workers of `process`.
pub async fn start(
    config: &Config,
    database: &OpenDatabase,
    tls: &Tls,
    process: &Process,
) -> Result<Runtime, RoleError> {
    let redis = probe(config)?;
    let engines = engines(config, tls)?;
    let settings = settings(config, &process.listeners)?;
    let rules = SlotRules {
        keys: Arc::new(JqSlotKeys::default()),
        retention_days: settings.retention_days,
    };
    let runtime = Runtime::start(
        settings,
        database.commits(),
        database.store(rules),
        engines,
        redis,
        &process.workers,
    );
    Ok(runtime.await?)
}

/// Serves the runtime's contracts on `listener` until `tasks` stop.
pub fn serve(listener: TcpListener, runtime: &Runtime, guard: Guard, tls: &Tls, tasks: &TaskGroup) {
    let server = GrpcServer::new(FILE_DESCRIPTOR_SET)
        .guarded(guard)
        .tls(tls)
        .service(runtime.runtime_service())
        .service(runtime.monitoring_service())
        .service(runtime.admin_service())
        .service(runtime.access_service());
    tasks.spawn("runtime-grpc", OnFailure::StopService, |stop| {
        server.serve(listener, stop)
    });
}

/// The runtime's contracts, called in this process.
pub fn transport(runtime: &Runtime) -> Transport {
    InProcess::new()
        .service(runtime.runtime_service())
        .service(runtime.monitoring_service())
        .service(runtime.access_service())
        .transport()
}

/// For the end of a process: finishes or hands over what runs, then lets go of
/// the runtime, so that its committers find that nobody will write any more.
pub async fn hand_over(runtime: Runtime) {
    runtime.drain().await;
}

/// What the runtime is told of the configuration.
fn settings(config: &Config, listeners: &TaskGroup) -> Result<RuntimeConfig, RoleError> {
    let runtime = &config.runtime;
    Ok(RuntimeConfig {
        sealing_keys: sealing::keys(&config.webhooks)?,
        max_running: usize::try_from(runtime.max_running).unwrap_or(usize::MAX),
        dispatch: runtime.dispatch,
        lease_ttl: runtime.lease_ttl,
        drain: runtime.drain,
        dedupe_keep: config.webhooks.dedupe_keep,
        retention_days: u16::try_from(config.retention.days).unwrap_or(u16::MAX),
        stop: listeners.child_token(),
        ..RuntimeConfig::default()
    })
}

/// The engines that `runtime.engine` names.
fn engines(config: &Config, tls: &Tls) -> Result<EngineClient, RoleError> {
    match &config.runtime.engine {
        RuntimeEngine::Embedded => Ok(EngineClient::embedded(engine::embedded(&config.engine)?)),
        RuntimeEngine::Remote(peers) => {
            let identity = tls::identity(config, tls);
            let places = peers.iter().map(PeerAddress::as_str);
            Ok(EngineClient::remote(places, &identity)?)
        }
    }
}

/// Whether Redis answers, where there is one. Whether it does is not asked
/// here: a runtime starts and works without it.
fn probe(config: &Config) -> Result<Option<Arc<dyn CacheProbe>>, RoleError> {
    let Some(url) = &config.redis.url else {
        return Ok(None);
    };
    let locks = RedisLocks::new(&RedisLocksConfig::new(url.expose()))?;
    Ok(Some(Arc::new(RedisProbe(locks))))
}

struct RedisProbe(RedisLocks);

#[async_trait]
impl CacheProbe for RedisProbe {
    async fn ping(&self) -> Result<(), String> {
        self.0
            .health()
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}
