//! What a generated gRPC client talks through. The other side is a server in
//! this process ([`in_process`]) or one behind a network ([`remote`]); the
//! client cannot tell, so one process and many run the same code.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use http::{HeaderValue, Uri, header};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer as _, Service, ServiceExt as _};

use crate::config::InternalToken;
use crate::metrics::{CallsLayer, Side};
use crate::tls::{Connector, Tls};
use crate::trace_context;

/// A connection that generated clients take: `XServiceClient::new(transport)`.
/// Clones are cheap and share it.
pub type Transport = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, TransportError>;

/// The other side could not be called. A type of its own rather than a boxed
/// error: with that, futures of generated clients are not provably `Send`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(#[source] BoxError);

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that is gone without a word is noticed after the sum of these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls `server`, a generated `XServiceServer`, directly: no HTTP/2, no
/// socket, no task in between. Unary and streaming calls both work; a caller
/// that goes away drops the handler, as it does over the network.
pub fn in_process<S>(server: S) -> Transport
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let server = server.map_err(|never: Infallible| match never {});
    BoxCloneSyncService::new(CallsLayer(Side::Client).layer(server))
}

/// Several generated servers behind one [`Transport`]: each call goes to the
/// one that its path names, directly as with [`in_process`].
#[derive(Debug, Clone, Default)]
pub struct InProcess {
    /// Few, so that looking through them is quicker than hashing.
    servers: Vec<(&'static str, Transport)>,
}

impl InProcess {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a generated `XServiceServer`.
    #[must_use]
    pub fn service<S>(mut self, server: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.servers.push((S::NAME, in_process(server)));
        self
    }

    /// What clients of any of the servers take. Others are answered with
    /// UNIMPLEMENTED, as a server does that lacks the service.
    pub fn transport(self) -> Transport {
        let servers: Arc<[_]> = self.servers.into();
        BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<Body>| {
            let mut path = request.uri().path().splitn(3, '/').skip(1);
            let name = path.next().unwrap_or_default();
            match servers.iter().find(|(known, _)| *known == name) {
                Some((_, server)) => Either::Left(server.clone().oneshot(request)),
                None => {
                    let status = Status::unimplemented(format!("there is no service `{name}`"));
                    Either::Right(std::future::ready(Ok(status.into_http())))
                }
            }
        }))
    }
}

/// An address that no connection can be made to.
#[derive(Debug, thiserror::Error)]
#[error("`{uri}` is not an address of a gRPC server: {reason}")]
pub struct InvalidAddress {
    uri: String,
    reason: String,
}

impl InvalidAddress {
    pub(crate) fn new(uri: &str, reason: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// As whom this process calls other roles. The default is nobody, which is for
/// servers that are none: a service's own health check.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// `Bearer` and the internal token; marked as sensitive.
    authorization: Option<HeaderValue>,
    /// What it shows, and whom it trusts, where calls go to `https://…`.
    tls: Option<Tls>,
}

impl Identity {
    /// One that presents `token` with every call.
    pub fn new(token: Option<&InternalToken>) -> Self {
        let authorization = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .expect("an internal token is visible ASCII");
            value.set_sensitive(true);
            value
        });
        Self {
            authorization,
            tls: None,
        }
    }

    /// The same, which also calls those at `https://…`.
    #[must_use]
    pub fn with_tls(mut self, tls: &Tls) -> Self {
        self.tls = Some(tls.clone());
        self
    }
}

/// As [`remote_as`], as nobody.
pub fn remote(uri: &str) -> Result<Transport, InvalidAddress> {
    remote_as(uri, &Identity::default())
}

/// Calls the server at `uri` (`http://host:port`, or `https://host:port` with
/// an identity that has TLS) as `identity`. Connects when first used and again whenever the connection is lost; until then calls fail with
/// UNAVAILABLE after two seconds at the latest. Must be called within a Tokio
/// runtime.
///
/// Passes the current trace on.
pub fn remote_as(uri: &str, identity: &Identity) -> Result<Transport, InvalidAddress> {
    let parsed: Uri = uri
        .parse()
        .map_err(|_| InvalidAddress::new(uri, "it is not a URI"))?;
    connection(&parsed, None, true, identity)
}

/// A connection to the server at `uri`, or to the one at an address that `uri`
/// stands for; with `pings`, one that is gone without a word is noticed.
pub(crate) fn connection(
    uri: &Uri,
    at: Option<SocketAddr>,
    pings: bool,
    identity: &Identity,
) -> Result<Transport, InvalidAddress> {
    let invalid = |reason: &str| InvalidAddress::new(&uri.to_string(), reason);
    let secure = is_secure(uri)?;
    let connector = match (&identity.tls, secure) {
        (_, false) => None,
        (None, true) => return Err(invalid("https is not spoken here")),
        (Some(tls), true) => {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(443);
            let connector = Connector::new(tls.clone(), host, port, at);
            Some(connector.ok_or_else(|| invalid("its host is neither a name nor an address"))?)
        }
    };
    let place = match (at, &connector) {
        // TLS is the connector's: nothing else is to look at the scheme.
        (Some(at), _) => format!("http://{at}"),
        (None, Some(_)) => uri.to_string().replacen("https", "http", 1),
        (None, None) => uri.to_string(),
    };
    let mut endpoint = Endpoint::from_shared(place)
        .map_err(|error| invalid(&error.to_string()))?
        .origin(uri.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    if pings {
        endpoint = endpoint
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
    }
    let channel = match connector {
        Some(connector) => endpoint.connect_with_connector_lazy(connector),
        None => endpoint.connect_lazy(),
    };
    Ok(traced(channel, identity))
}

/// Whether calls to `uri` go over TLS.
pub(crate) fn is_secure(uri: &Uri) -> Result<bool, InvalidAddress> {
    let invalid = |reason: &str| Err(InvalidAddress::new(&uri.to_string(), reason));
    match uri.scheme_str() {
        Some("http") => Ok(false),
        Some("https") => Ok(true),
        Some(other) => invalid(&format!("{other} is not supported, only http and https")),
        None => invalid("it does not start with http:// or https://"),
    }
}

/// Passes the current trace on with every call, and says who calls.
fn traced(channel: Channel, identity: &Identity) -> Transport {
    let authorization = identity.authorization.clone();
    let traced = channel
        .map_request(move |mut request: http::Request<Body>| {
            trace_context::inject(request.headers_mut());
            if let Some(value) = &authorization {
                let headers = request.headers_mut();
                headers.insert(header::AUTHORIZATION, value.clone());
            }
            request
        })
        .map_err(|error| TransportError(error.into()));
    BoxCloneSyncService::new(CallsLayer(Side::Client).layer(traced))
}
