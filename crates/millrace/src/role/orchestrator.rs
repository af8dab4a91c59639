//! `millrace orchestrator`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_orchestrator::node::NodeFinder;
use millrace_orchestrator::{
    OrchestratorConfig, ServicePreparer, WorkloadOrchestrator, raise_open_files,
};
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_runtime::StoredKeys;
use millrace_service::access::Guard;
use millrace_service::config::{self, Loaded};
use millrace_service::grpc::GrpcServer;
use millrace_service::tls::Tls;
use millrace_service::{OnFailure, TaskGroup};
use millrace_store::{SlotRules, WorkloadStore};
use tokio::net::TcpListener;

use super::access::{self, Keys};
use super::data_dir::DataDir;
use super::database::{Database, OpenDatabase};
use super::process::{Process, bind};
use super::ready::announce_one;
use super::{RoleError, tls};

pub async fn run(ready_json: bool, loaded: &Loaded) -> Result<(), RoleError> {
    let config = &loaded.config.orchestrator;
    let process = Process::new()?;
    let keys = Keys::default();
    let guard = access::guard(&loaded.config, &keys);
    let tls = tls::of_listener(&loaded.config, &process)?;
    process.keep_metrics(|| {});
    process
        .serve_admin(
            "orchestrator",
            "orchestrator.admin_listen",
            config.admin_listen,
            guard.clone(),
        )
        .await?;
    let (listener, at) = bind("orchestrator.listen", config.listen).await?;
    // Two that write into one folder would run everything twice.
    let data_dir = DataDir::open(&config.data_dir)?;
    let database = Database::of(loaded)?;
    let _alone = match database.directory() {
        // The same folder is locked already.
        Some(folder) if folder.canonicalize().is_ok_and(|f| f == data_dir.path()) => None,
        folder => folder.map(DataDir::open).transpose()?,
    };
    let database = database
        .open(loaded.config.database.max_connections)
        .await?;
    database.check_schema().await?;
    keys.connect(StoredKeys::new(database.store(SlotRules::default())));
    let settings = settings(config, data_dir.path(), Some(Vec::new()));
    let orchestrator = start(settings, &database, &process).await?;
    serve(listener, &orchestrator, guard, &tls, &process.listeners);
    tracing::info!(%at, "the orchestrator serves gRPC on {at}");
    announce_one("orchestrator", at, ready_json);
    let keep_services = config.keep_services;
    let hand_over = async {
        if !keep_services {
            orchestrator.suspend_all().await;
        }
    };
    process.run(std::future::ready(()), hand_over).await?;
    database.close().await;
    Ok(())
}

/// What the orchestrator is told of the configuration. `roots` are allowed
/// when none are configured; `None` is anywhere.
pub fn settings(
    config: &config::OrchestratorConfig,
    data_dir: &Path,
    roots: Option<Vec<PathBuf>>,
) -> OrchestratorConfig {
    let node_id = config.node_id.clone().unwrap_or_else(host_name);
    let mut settings = OrchestratorConfig::new(node_id, data_dir);
    settings.roots = if config.roots.is_empty() {
        roots
    } else {
        Some(config.roots.iter().map(PathBuf::from).collect())
    };
    settings.ports = config.ports.first..=config.ports.last;
    settings.secrets_dir.clone_from(&config.secrets_dir);
    settings.host.clone_from(&config.host);
    let nodes = NodeFinder::of_process(config.node.clone());
    settings.prepare = Arc::new(ServicePreparer::new(nodes, config.gateway_url.clone()));
    settings
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Starts an orchestrator on `database`.
pub async fn start(
    mut settings: OrchestratorConfig,
    database: &OpenDatabase,
    process: &Process,
) -> Result<WorkloadOrchestrator, RoleError> {
    match raise_open_files() {
        Ok(before) => settings.open_files = before,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is: {error}");
        }
    }
    let store: Arc<dyn WorkloadStore> = database.store(SlotRules::default());
    let (workers, listeners) = (&process.workers, &process.listeners);
    Ok(WorkloadOrchestrator::start(settings, store, workers, listeners).await?)
}

/// Serves the contract on `listener` until `tasks` stop.
pub fn serve(
    listener: TcpListener,
    orchestrator: &WorkloadOrchestrator,
    guard: Guard,
    tls: &Tls,
    tasks: &TaskGroup,
) {
    let server = GrpcServer::new(FILE_DESCRIPTOR_SET)
        .guarded(guard)
        .tls(tls)
        .service(orchestrator.service());
    tasks.spawn("orchestrator-grpc", OnFailure::StopService, |stop| {
        server.serve(listener, stop)
    });
}
