//! `millrace engine`.

use millrace_engine::effects::egress::{EgressPolicy, InvalidEgress};
use millrace_engine::effects::http::{HttpConfig, HttpSetup};
use millrace_engine::service::{EngineConfig, EngineService};
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_service::config::{self, Config};
use millrace_service::grpc::{GrpcServer, ServingStatus};
use millrace_service::transport::in_process;
use millrace_service::{OnFailure, Transport};

use super::process::{Process, bind};
use super::ready::announce_one;
use super::{RoleError, access, tls};

pub async fn run(ready_json: bool, config: &Config) -> Result<(), RoleError> {
    let guard = access::guard_of_engine(config);
    let process = Process::new()?;
    let tls = tls::of_listener(config, &process)?;
    let config = &config.engine;
    process.keep_metrics(|| {});
    process
        .serve_admin(
            "engine",
            "engine.admin_listen",
            config.admin_listen,
            guard.clone(),
        )
        .await?;
    let (listener, at) = bind("engine.listen", config.listen).await?;
    let engine = build(config)?;
    let server = GrpcServer::new(FILE_DESCRIPTOR_SET)
        .guarded(guard)
        .tls(&tls)
        .service(engine.clone().into_server());
    let health = server.health();
    process
        .listeners
        .spawn("engine-grpc", OnFailure::StopService, |stop| {
            server.serve(listener, stop)
        });
    tracing::info!(%at, "the engine serves gRPC on {at}");
    announce_one("engine", at, ready_json);
    // While it still listens, so that runtimes hear that it takes no more.
    let retire = async {
        health
            .set_service_status("", ServingStatus::NotServing)
            .await;
        engine.drain(config.drain).await;
    };
    process.run(retire, std::future::ready(())).await
}

/// Why the engine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("`engine.egress.allow`: {0}")]
    Egress(#[from] InvalidEgress),
    #[error(transparent)]
    Http(#[from] HttpSetup),
}

/// The built-in engine, called in this process.
pub fn embedded(config: &config::EngineConfig) -> Result<Transport, EngineError> {
    Ok(in_process(build(config)?.into_server()))
}

fn build(config: &config::EngineConfig) -> Result<EngineService, EngineError> {
    let http = HttpConfig {
        egress: EgressPolicy::parse(&config.egress.allow)?,
        ..HttpConfig::default()
    };
    Ok(EngineService::new(EngineConfig {
        http,
        secrets: config.secrets_dir.clone(),
        ..EngineConfig::default()
    })?)
}
