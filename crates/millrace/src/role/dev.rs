//! `millrace dev`: all of it in one process.

use millrace_gateway::Gateway;
use millrace_orchestrator::WorkloadOrchestratorRpc;
use millrace_service::config::Loaded;
use millrace_service::transport::in_process;

use super::data_dir::DataDir;
use super::process::{Process, bind};
use super::ready::{Addresses, announce};
use super::{RoleError, gateway, orchestrator};

pub async fn run(ready_json: bool, loaded: &Loaded) -> Result<(), RoleError> {
    let config = &loaded.config;
    let process = Process::new()?;
    // Before anything else: what follows relies on being alone.
    let data_dir = DataDir::open(&config.dev.data_dir)?;
    let (http, http_at) = bind("gateway.listen", config.gateway.listen).await?;
    let (_runtime, runtime_at) = bind("runtime.listen", config.runtime.listen).await?;
    let (orchestrator, orchestrator_at) =
        bind("orchestrator.listen", config.orchestrator.listen).await?;

    // The runtime joins here: store, engine and its contract.
    orchestrator::serve(orchestrator, &process.listeners);
    let gateway = Gateway::new(
        gateway::settings(&config.gateway),
        Vec::new(),
        Some(in_process(WorkloadOrchestratorRpc.service())),
    );
    gateway::serve(http, &gateway, &process.listeners);

    let addresses = Addresses {
        http: http_at,
        runtime: runtime_at,
        orchestrator: orchestrator_at,
    };
    announce(addresses, data_dir.path(), ready_json);
    process.run(std::future::ready(())).await
}
