//! `millrace engine`.

use millrace_engine::service::{EngineConfig, EngineService};
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_service::config::{self, Config};
use millrace_service::grpc::GrpcServer;
use millrace_service::transport::in_process;
use millrace_service::{OnFailure, Transport};

use super::RoleError;
use super::process::{Process, bind};
use super::ready::announce_one;

pub async fn run(ready_json: bool, config: &Config) -> Result<(), RoleError> {
    let config = &config.engine;
    let process = Process::new()?;
    process
        .serve_admin("engine", "engine.admin_listen", config.admin_listen)
        .await?;
    let (listener, at) = bind("engine.listen", config.listen).await?;
    let engine = EngineService::new(&settings(config));
    let server = GrpcServer::new(FILE_DESCRIPTOR_SET).service(engine.into_server());
    process
        .listeners
        .spawn("engine-grpc", OnFailure::StopService, |stop| {
            server.serve(listener, stop)
        });
    tracing::info!(%at, "the engine serves gRPC on {at}");
    announce_one("engine", at, ready_json);
    process.run(std::future::ready(())).await
}

/// The built-in engine, called in this process.
pub fn embedded(config: &config::EngineConfig) -> Vec<Transport> {
    vec![in_process(
        EngineService::new(&settings(config)).into_server(),
    )]
}

/// What the engine is told of the configuration: nothing yet, as
/// `engine.egress` has no counterpart there.
fn settings(_: &config::EngineConfig) -> EngineConfig {
    EngineConfig::default()
}
