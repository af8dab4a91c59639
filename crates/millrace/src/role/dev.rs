//! `millrace dev`: all of it in one process.

use std::path::Path;

use millrace_gateway::Gateway;
use millrace_service::config::{Config, Loaded};
use millrace_service::transport::in_process;
use millrace_store::SlotRules;

use super::access::{self, Keys};
use super::data_dir::DataDir;
use super::database::{Database, OpenDatabase};
use super::process::{Process, bind};
use super::ready::{Addresses, announce};
use super::{RoleError, gateway, orchestrator, runtime, scheduler_admin, sealing, tls};

pub async fn run(ready_json: bool, loaded: &Loaded) -> Result<(), RoleError> {
    let mut config = settings(loaded);
    let process = Process::new()?;
    // Before anything else: what follows relies on being alone.
    let data_dir = DataDir::open(&config.dev.data_dir)?;
    if config.webhooks.sealing_key.is_none() {
        config.webhooks.sealing_key = Some(sealing::of_directory(data_dir.path())?);
    }
    let scheduler = scheduler_admin::Switch::default();
    let keys = Keys::default();
    let guard = access::guard(&config, &keys);
    let tls = tls::of_listener(&config, &process)?;
    process
        .serve_admin_with(
            "dev",
            "gateway.admin_listen",
            config.gateway.admin_listen,
            guard.clone(),
            scheduler_admin::router(scheduler.clone()),
        )
        .await?;
    let https = tls::https(&config.gateway, &process)?;
    let scheme = if https.is_some() { "https" } else { "http" };
    let (http, http_at) = bind("gateway.listen", config.gateway.listen).await?;
    let (runtime_grpc, runtime_at) = bind("runtime.listen", config.runtime.listen).await?;
    let (orchestrator_grpc, orchestrator_at) =
        bind("orchestrator.listen", config.orchestrator.listen).await?;

    let database = database(loaded, data_dir.path()).await?;
    process.keep_metrics(database.sampler());
    let runtime = runtime::start(&config, &database, &tls, &process).await?;
    scheduler.connect(runtime.scheduler());
    keys.connect(runtime.keys());
    runtime::serve(
        runtime_grpc,
        &runtime,
        guard.clone(),
        &tls,
        &process.listeners,
    );
    // The folder is its own, whatever the host is called.
    config
        .orchestrator
        .node_id
        .get_or_insert_with(|| "dev".to_owned());
    if config.orchestrator.gateway_url.is_none() {
        config.orchestrator.gateway_url = Some(format!("{scheme}://{http_at}"));
    }
    // Whoever develops may run what lies anywhere, unless told otherwise.
    let workloads = orchestrator::settings(&config.orchestrator, data_dir.path(), None);
    let workloads = orchestrator::start(workloads, &database, &process).await?;
    orchestrator::serve(
        orchestrator_grpc,
        &workloads,
        guard,
        &tls,
        &process.listeners,
    );
    let gateway = Gateway::new(
        gateway::settings(&config, &process.listeners)?,
        vec![runtime::transport(&runtime)],
        Some(in_process(workloads.service())),
    );
    gateway::serve(http, &config.gateway, https, &gateway, &process.listeners);
    // What still refers to the runtime would keep its committers waiting.
    drop(gateway);

    let addresses = Addresses {
        scheme,
        http: http_at,
        runtime: runtime_at,
        orchestrator: orchestrator_at,
    };
    announce(addresses, data_dir.path(), ready_json);
    let keep_services = config.dev.keep_services;
    let hand_over = async {
        let services = async {
            if !keep_services {
                workloads.suspend_all().await;
            }
        };
        tokio::join!(services, runtime::hand_over(runtime));
    };
    process.run(std::future::ready(()), hand_over).await?;
    database.close().await;
    tracing::info!("connections to the database are closed");
    Ok(())
}

/// Nothing else is installed, and one process needs no Redis. What is being
/// developed calls services on the same machine and next to it.
fn settings(loaded: &Loaded) -> Config {
    let mut config = loaded.config.clone();
    config.redis.url = None;
    for near in ["loopback", "private"] {
        config.engine.egress.allow.push(near.to_owned());
    }
    config
}

/// The database, up to date. Leases in the file of this directory are those
/// of processes that are gone: the directory is ours alone.
async fn database(loaded: &Loaded, data_dir: &Path) -> Result<OpenDatabase, RoleError> {
    let database = Database::of_dev(loaded, data_dir)?;
    let ours = database.directory() == Some(data_dir);
    let database = database
        .open(loaded.config.database.max_connections)
        .await?;
    database.migrate().await?;
    if ours {
        database
            .store(SlotRules::default())
            .void_all_leases()
            .await?;
    }
    Ok(database)
}
