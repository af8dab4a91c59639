//! `millrace gateway`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::IpNet;
use millrace_gateway::{ForwardedHeader, Gateway, GatewayConfig, Proxies, Rate, SharedRates};
use millrace_locks::{RedisLocksConfig, RedisRates};
use millrace_service::config::{self, Config};
use millrace_service::http::HttpServer;
use millrace_service::tls::Tls;
use millrace_service::transport::{Transport, remote_as};
use millrace_service::{OnFailure, TaskGroup};
use tokio::net::TcpListener;

use super::process::{Process, bind};
use super::ready::announce_one;
use super::runtimes::Runtimes;
use super::{RoleError, sealing, tls};

pub async fn run(ready_json: bool, config: &Config) -> Result<(), RoleError> {
    let process = Process::new()?;
    let settings = settings(config, &process.listeners)?;
    let identity = tls::identity(config, &tls::of_caller(config, &process)?);
    let config = &config.gateway;
    let runtimes: Vec<Transport> = config
        .runtime
        .iter()
        .map(|peer| remote_as(peer.as_str(), &identity))
        .collect::<Result<_, _>>()?;
    let orchestrator = config
        .orchestrator
        .as_ref()
        .map(|peer| remote_as(peer.as_str(), &identity))
        .transpose()?;
    let gateway = Gateway::new(settings, runtimes, orchestrator);
    process.keep_metrics(|| {});
    process
        .serve_admin(
            "gateway",
            "gateway.admin_listen",
            config.admin_listen,
            gateway.guard(),
        )
        .await?;
    let https = tls::https(config, &process)?;
    let scheme = if https.is_some() { "HTTPS" } else { "HTTP" };
    let (listener, at) = bind("gateway.listen", config.listen).await?;
    let followed = Runtimes::new(&config.runtime, &identity)?;
    if followed.have_names() {
        let gateway = gateway.clone();
        process
            .workers
            .spawn("runtimes", OnFailure::StopService, |stop| {
                followed.follow(gateway, stop)
            });
    }
    serve(listener, config, https, &gateway, &process.listeners);
    tracing::info!(%at, "the gateway serves {scheme} on {at}");
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

/// Why the gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("`gateway.trusted_proxies`: `{0}` is neither an address nor a network such as 10.0.0.0/8")]
pub struct InvalidProxy(String);

/// What the gateway is told of the configuration.
pub fn settings(config: &Config, listeners: &TaskGroup) -> Result<GatewayConfig, RoleError> {
    Ok(GatewayConfig {
        proxies: proxies(&config.gateway)?,
        shared_rates: shared_rates(&config.redis)?,
        auth: config.auth.clone(),
        rate_per_key: config.gateway.rate_per_key.map(rate),
        rate_per_address: config.gateway.rate_per_address.map(rate),
        sealing_keys: sealing::keys(&config.webhooks)?,
        body_limit: usize::try_from(config.gateway.body_limit).unwrap_or(usize::MAX),
        stop: listeners.child_token(),
        ..GatewayConfig::default()
    })
}

fn rate(limit: config::RateLimit) -> Rate {
    Rate {
        interval: limit.per / limit.limit,
        burst: limit.burst,
    }
}

fn proxies(config: &config::GatewayConfig) -> Result<Proxies, InvalidProxy> {
    let network = |text: &String| {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| InvalidProxy(text.clone()))
    };
    let trusted = config.trusted_proxies.iter().map(network);
    Ok(Proxies {
        trusted: trusted.collect::<Result<_, _>>()?,
        header: match config.forwarded_header {
            config::ForwardedHeader::XForwardedFor => ForwardedHeader::XForwardedFor,
            config::ForwardedHeader::Forwarded => ForwardedHeader::Forwarded,
        },
    })
}

/// Where several gateways count together. Whether it is there is not asked.
fn shared_rates(config: &config::RedisConfig) -> Result<Option<Arc<dyn SharedRates>>, RoleError> {
    let Some(url) = &config.url else {
        return Ok(None);
    };
    let rates = RedisRates::new(&RedisLocksConfig::new(url.expose()))?;
    Ok(Some(Arc::new(OnRedis(rates))))
}

#[derive(Debug)]
struct OnRedis(RedisRates);

impl SharedRates for OnRedis {
    fn take<'a>(
        &'a self,
        key: &'a str,
        rate: Rate,
    ) -> BoxFuture<'a, Result<Option<Duration>, String>> {
        Box::pin(async move {
            let taken = self.0.take(key, rate.interval, rate.burst).await;
            taken.map_err(|error| error.to_string())
        })
    }
}

/// Serves the public API on `listener` until `tasks` stop.
pub fn serve(
    listener: TcpListener,
    config: &config::GatewayConfig,
    https: Option<Tls>,
    gateway: &Gateway,
    tasks: &TaskGroup,
) {
    let router = gateway.router();
    let server = HttpServer::new("gateway")
        .max_connections(usize::try_from(config.max_connections).unwrap_or(usize::MAX))
        .header_timeout(config.header_timeout)
        .tls(https);
    tasks.spawn("gateway-http", OnFailure::StopService, |stop| {
        server.serve(listener, router, stop)
    });
}
