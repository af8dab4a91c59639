//! `millrace orchestrator`.

use millrace_orchestrator::WorkloadOrchestratorRpc;
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_service::config::Config;
use millrace_service::grpc::GrpcServer;
use millrace_service::{OnFailure, TaskGroup};
use tokio::net::TcpListener;

use super::RoleError;
use super::process::{Process, bind};
use super::ready::announce_one;

pub async fn run(ready_json: bool, config: &Config) -> Result<(), RoleError> {
    let config = &config.orchestrator;
    let process = Process::new()?;
    process
        .serve_admin(
            "orchestrator",
            "orchestrator.admin_listen",
            config.admin_listen,
        )
        .await?;
    let (listener, at) = bind("orchestrator.listen", config.listen).await?;
    serve(listener, &process.listeners);
    tracing::info!(%at, "the orchestrator serves gRPC on {at}");
    announce_one("orchestrator", at, ready_json);
    process
        .run(std::future::ready(()), std::future::ready(()))
        .await
}

/// Serves the contract on `listener` until `tasks` stop.
pub fn serve(listener: TcpListener, tasks: &TaskGroup) {
    let server = GrpcServer::new(FILE_DESCRIPTOR_SET).service(WorkloadOrchestratorRpc.service());
    tasks.spawn("orchestrator-grpc", OnFailure::StopService, |stop| {
        server.serve(listener, stop)
    });
}
