//! Serves gRPC contracts on a listener: with the standard health service,
//! reflection (v1, and v1alpha for older tools), traces, and a graceful end.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tower::Service;
use tower::util::MapRequestLayer;

use crate::access::{Guard, GuardLayer, VerifiedPeer};
use crate::metrics::{CallsLayer, Side};
use crate::net::{Caller, Door, incoming};
use crate::tls::Tls;
use crate::trace_context::TraceLayer;

pub use tonic_health::ServingStatus;

/// What a handler that streams answers with.
pub type Answers<T> = Pin<Box<dyn futures::Stream<Item = Result<T, tonic::Status>> + Send>>;

/// Implements a contract by inherent methods of the same names, which take the
/// message and answer with a message (or [`Answers`]), so that they can lie in
/// the files of their subjects. Their errors become a [`tonic::Status`].
#[macro_export]
macro_rules! grpc_handlers {
    (contract: $contract:path, server: $server:ty, messages: $messages:ident;
     unary { $($method:ident($request:ident) -> $response:ident;)+ }
     streaming { $($stream:ident $smethod:ident($srequest:ident) -> $sresponse:ident;)+ }) => {
        #[tonic::async_trait]
        impl $contract for $server {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<$messages::$request>,
                ) -> Result<tonic::Response<$messages::$response>, tonic::Status> {
                    let answer = self.$method(request.into_inner()).await?;
                    Ok(tonic::Response::new(answer))
                }
            )+
            $(
                type $stream = $crate::grpc::Answers<$messages::$sresponse>;

                async fn $smethod(
                    &self,
                    request: tonic::Request<$messages::$srequest>,
                ) -> Result<tonic::Response<Self::$stream>, tonic::Status> {
                    let answers = self.$smethod(request.into_inner()).await?;
                    Ok(tonic::Response::new(answers))
                }
            )+
        }
    };
}

/// A client that is gone without a word is noticed after the sum of these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at once. Roles need a few each; callers with keys have to wait
/// beyond that.
const MAX_CONNECTIONS: usize = 10_000;

/// Why serving ended before it was asked to, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the descriptors for reflection are broken: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A set of contracts to be served together.
#[derive(Debug)]
pub struct GrpcServer {
    routes: RoutesBuilder,
    descriptors: &'static [u8],
    names: Vec<&'static str>,
    health: HealthReporter,
    guard: Guard,
    tls: Option<Tls>,
}

impl GrpcServer {
    /// `descriptors` is an encoded `FileDescriptorSet` with the contracts to
    /// come, shown by reflection.
    pub fn new(descriptors: &'static [u8]) -> Self {
        Self {
            routes: RoutesBuilder::default(),
            descriptors,
            names: Vec::new(),
            health: HealthReporter::new(),
            guard: Guard::open(),
            tls: None,
        }
    }

    /// Adds a generated `XServiceServer`.
    #[must_use]
    pub fn service<S>(mut self, server: S) -> Self
    where
        S: Service<http::Request<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(server);
        self.names.push(S::NAME);
        self
    }

    /// Has every call judged by `guard`. Without, anyone may call.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Speaks TLS as `tls` has it; in plain when that has no certificate.
    #[must_use]
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.tls = Some(tls.clone());
        self
    }

    /// What the health service answers: every contract serves from the start
    /// of [`serve`](Self::serve) to the stop, unless it is set otherwise here.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Serves until `stop`, then takes no more connections and returns once
    /// the calls that run have ended.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        for name in &self.names {
            self.health
                .set_service_status(*name, ServingStatus::Serving)
                .await;
        }
        let health_server = tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(self.health.clone()),
        );
        self.routes.add_service(health_server);
        self.routes.add_service(
            self.reflection("grpc.reflection.v1.ServerReflection")
                .build_v1()?,
        );
        self.routes.add_service(
            self.reflection("grpc.reflection.v1alpha.ServerReflection")
                .build_v1alpha()?,
        );

        let (health, names) = (self.health, self.names);
        let stopping = async move {
            stop.cancelled().await;
            for name in names {
                health
                    .set_service_status(name, ServingStatus::NotServing)
                    .await;
            }
            health
                .set_service_status("", ServingStatus::NotServing)
                .await;
        };
        Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .layer(MapRequestLayer::new(note_peer))
            .layer(TraceLayer)
            .layer(CallsLayer(Side::Server))
            .layer(GuardLayer(self.guard))
            .add_routes(self.routes.routes())
            .serve_with_incoming_shutdown(
                incoming(Door::new(listener, "grpc", MAX_CONNECTIONS), self.tls),
                stopping,
            )
            .await?;
        Ok(())
    }

    /// Lists what is served here, and no other contract of the descriptors.
    /// `own` is the reflection service itself, in the version to be built.
    fn reflection(&self, own: &'static str) -> tonic_reflection::server::Builder<'static> {
        self.names
            .iter()
            .copied()
            .chain(["grpc.health.v1.Health", own])
            .fold(
                tonic_reflection::server::Builder::configure(),
                tonic_reflection::server::Builder::with_service_name,
            )
            .register_encoded_file_descriptor_set(self.descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    }
}

/// Says of each request what is known of its connection.
fn note_peer(mut request: http::Request<Body>) -> http::Request<Body> {
    let extensions = request.extensions_mut();
    if extensions.get::<Caller>().is_some_and(|by| by.verified) {
        extensions.insert(VerifiedPeer);
    }
    request
}
