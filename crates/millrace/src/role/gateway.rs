//! `millrace gateway`.

use millrace_gateway::{Gateway, GatewayConfig};
use millrace_service::config::Config;
use millrace_service::transport::{Transport, remote};
use millrace_service::{OnFailure, TaskGroup, http};
use tokio::net::TcpListener;

use super::process::{Process, bind};
use super::ready::announce_one;
use super::{RoleError, sealing};

pub async fn run(ready_json: bool, config: &Config) -> Result<(), RoleError> {
    let settings = settings(config)?;
    let config = &config.gateway;
    let process = Process::new()?;
    process
        .serve_admin("gateway", "gateway.admin_listen", config.admin_listen)
        .await?;
    let (listener, at) = bind("gateway.listen", config.listen).await?;
    let runtimes: Vec<Transport> = config
        .runtime
        .iter()
        .map(|peer| remote(peer.as_str()))
        .collect::<Result<_, _>>()?;
    let orchestrator = config
        .orchestrator
        .as_ref()
        .map(|peer| remote(peer.as_str()))
        .transpose()?;
    let gateway = Gateway::new(settings, runtimes, orchestrator);
    serve(listener, &gateway, &process.listeners);
    tracing::info!(%at, "the gateway serves HTTP on {at}");
    announce_one("http", at, ready_json);
    let delay = config.stop_delay;
    // Whoever routes to this process has to learn that it stops before it
    // takes no more connections.
    let retire = async {
        gateway.retire();
        tracing::info!("/readyz says that it stops; still serving for {delay:?}");
        tokio::time::sleep(delay).await;
    };
    process.run(retire, std::future::ready(())).await
}

/// What the gateway is told of the configuration.
pub fn settings(config: &Config) -> Result<GatewayConfig, RoleError> {
    Ok(GatewayConfig {
        sealing_keys: sealing::keys(&config.webhooks)?,
        body_limit: usize::try_from(config.gateway.body_limit).unwrap_or(usize::MAX),
        ..GatewayConfig::default()
    })
}

/// Serves the public API on `listener` until `tasks` stop.
pub fn serve(listener: TcpListener, gateway: &Gateway, tasks: &TaskGroup) {
    let router = gateway.router();
    tasks.spawn("gateway-http", OnFailure::StopService, |stop| {
        http::serve(listener, router, stop)
    });
}
