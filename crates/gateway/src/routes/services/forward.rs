//! Passing a request on, and its answer back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse as _;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use millrace_service::TaskGroup;
use tokio::time::sleep;

use super::address::Address;
use super::body::{Kept, Offered};
use super::headers;
use super::resolve::Endpoint;
use super::upgrade::Asked;
use crate::Gateway;
use crate::problem::Problem;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than servers commonly keep an idle connection: one that closes it
/// while a request is on its way would lose it.
const IDLE: Duration = Duration::from_secs(4);
/// How long a service that does not take a connection is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// The way to one instance: connections that are kept and used again.
#[derive(Debug, Clone)]
pub struct Upstream {
    http1: Client<HttpConnector, Offered>,
    /// For gRPC, which is spoken over nothing else.
    http2: Client<HttpConnector, Offered>,
}

impl Upstream {
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(256);
        let http1 = builder.build(connector.clone());
        let http2 = builder.http2_only(true).build(connector);
        Self { http1, http2 }
    }
}

/// The handler of `/services/…`.
pub async fn service(
    State(gateway): State<Gateway>,
    tasks: Option<Extension<TaskGroup>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    scheme: Option<Extension<Scheme>>,
    mut request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    let address = Address::of(request.uri())?;
    let asked = Asked::of(&mut request, tasks.map(|Extension(tasks)| tasks));
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer);
    let scheme = scheme.map_or(Scheme::HTTP, |Extension(scheme)| scheme);
    let (mut parts, body) = request.into_parts();
    let is_connect = parts.method == Method::CONNECT;
    let is_grpc = parts.version == Version::HTTP_2 && is_grpc(&parts.headers);
    headers::remove_hop_by_hop(&mut parts.headers);
    headers::set_forwarded(&mut parts.headers, &parts.uri, &address, &scheme, peer);
    if let Some(asked) = &asked {
        asked.ask(&mut parts.method, &mut parts.headers);
    }
    let outgoing = Outgoing {
        method: parts.method,
        headers: parts.headers,
        body: Kept::new(body),
        is_grpc,
    };
    let (endpoint, response) = outgoing.send(&gateway, &address).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match asked {
            Some(asked) => Ok(asked.agree(response)),
            None => Err(Problem::bad_gateway(
                "The service went over to a protocol that nobody asked for.",
            )),
        };
    }
    // To whoever sent a CONNECT, it would mean that the stream has gone over.
    if is_connect && response.status().is_success() {
        return Err(Problem::bad_gateway(
            "The service did not go over to the protocol that it was asked for.",
        ));
    }
    let mut response = response.map(Body::new);
    let headers = response.headers_mut();
    headers::remove_hop_by_hop(headers);
    headers::rewrite_location(headers, &address, &endpoint.authority);
    Ok(response.into_response())
}

fn is_grpc(headers: &http::HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A request that is sent until somebody takes it.
struct Outgoing {
    method: Method,
    headers: http::HeaderMap,
    body: Kept,
    is_grpc: bool,
}

impl Outgoing {
    async fn send(
        &self,
        gateway: &Gateway,
        address: &Address,
    ) -> Result<(std::sync::Arc<Endpoint>, Response<Incoming>), Problem> {
        let begun = Instant::now();
        let mut endpoint = gateway.endpoints.resolve(gateway, address, None).await?;
        loop {
            let request = self.request(&endpoint, address)?;
            let upstream = &endpoint.upstream;
            let client = if self.is_grpc {
                &upstream.http2
            } else {
                &upstream.http1
            };
            let error = match client.request(request).await {
                Ok(response) => return Ok((endpoint, response)),
                Err(error) => error,
            };
            let service = &address.service;
            tracing::debug!(%service, at = %endpoint.authority, error = ?error, "a service did not answer");
            if !self.may_repeat(&error) {
                return Err(Problem::bad_gateway(format!(
                    "`{service}` broke the connection off before it answered."
                )));
            }
            if begun.elapsed() > PATIENCE {
                return Err(Problem::not_ready(
                    format!("`{service}` does not answer at present."),
                    Duration::ZERO,
                ));
            }
            sleep(PAUSE).await;
            let not = Some(&*endpoint);
            endpoint = gateway.endpoints.resolve(gateway, address, not).await?;
        }
    }

    fn request(&self, endpoint: &Endpoint, address: &Address) -> Result<Request<Offered>, Problem> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(endpoint.authority.as_str())
            .path_and_query(address.rest.clone())
            .build()
            .map_err(|error| Problem::internal(&error))?;
        let mut request = Request::new(self.body.offer());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if self.is_grpc {
            *request.version_mut() = Version::HTTP_2;
        }
        Ok(request)
    }

    /// Whether sending it again cannot do anything twice: no connection came
    /// about, or it is one that may be repeated and nothing of it is missing.
    fn may_repeat(&self, error: &Error) -> bool {
        let unsent = error.is_connect() || is_canceled(error);
        self.body.is_whole() && (unsent || (self.method.is_idempotent() && self.body.is_empty()))
    }
}

/// A connection that was kept turned out to be closed before anything was
/// written to it.
fn is_canceled(error: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        source = error.source();
    }
    false
}
