//! Traces to an OpenTelemetry collector, over OTLP in protobuf and HTTP.
//!
//! What is exported are the [parts](crate::trace_context::Part) of a trace:
//! requests that are served, runs of executions, calls that they make. Without
//! a collector nothing of it exists, and asking [`is_on`] is one load.

use std::net::ToSocketAddrs as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use tracing::{info, warn};

use crate::config::OtlpConfig;
use crate::metrics;

/// How long one batch may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans.
const LAST: Duration = Duration::from_secs(3);
/// Largest answer of a collector that is read, in bytes.
const ANSWER: usize = 1 << 20;

/// Why no traces are sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error("`otlp.endpoint`: it is not an address such as http://collector:4318")]
    Address,
    #[error(
        "`otlp.endpoint`: only http is supported, such as http://collector:4318; for TLS let a \
         collector beside the process pass traces on"
    )]
    Scheme,
    #[error("`otlp.endpoint`: credentials belong into OTEL_EXPORTER_OTLP_HEADERS")]
    Credentials,
    #[error("`otlp.sample_percent`: it is not between 1 and 100")]
    Sample,
    #[error("traces cannot be sent: {0}")]
    Thread(io::Error),
    #[error("traces cannot be sent: {0}")]
    Build(#[from] ExporterBuildError),
}

struct Export {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

static EXPORT: OnceLock<Export> = OnceLock::new();

/// A trace, a place in it, and whether it is kept.
pub(crate) type Place = (u128, u64, u8);

/// Exports from now on until [`flush`], where a collector is configured.
pub(super) fn start(config: &OtlpConfig, role: &'static str) -> Result<(), OtlpError> {
    let Some(endpoint) = config.endpoint.as_deref() else {
        return Ok(());
    };
    if !(1..=100).contains(&config.sample_percent) {
        return Err(OtlpError::Sample);
    }
    let collector = Collector::new(endpoint)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .build()?;
    let sample = f64::from(config.sample_percent) / 100.0;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // What a caller has decided about its trace holds.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            sample,
        ))))
        .with_resource(resource(role))
        .build();
    let tracer = provider.tracer("millrace");
    let _ = EXPORT.set(Export { provider, tracer });
    info!("traces go to {endpoint}");
    Ok(())
}

/// Who sends the traces; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`
/// count for more.
fn resource(role: &'static str) -> Resource {
    let found = Resource::builder().build();
    let given = |key: &'static str| found.get(&Key::from_static_str(key));
    let named = given("service.name").is_some_and(|name| !name.as_str().starts_with("unknown"));
    let versioned = given("service.version").is_some();
    let mut resource = Resource::builder();
    if !named {
        resource = resource.with_service_name(format!("millrace-{role}"));
    }
    if !versioned {
        let version = env!("CARGO_PKG_VERSION");
        resource = resource.with_attribute(KeyValue::new("service.version", version));
    }
    resource.build()
}

/// Whether anything is exported.
pub(crate) fn is_on() -> bool {
    EXPORT.get().is_some()
}

/// Begins a span behind `parent`, or one that begins a trace; `None` without
/// a collector. It ends when it is dropped.
pub(crate) fn begin(kind: SpanKind, name: String, parent: Option<Place>) -> Option<Span> {
    let tracer = &EXPORT.get()?.tracer;
    let builder = tracer.span_builder(name).with_kind(kind);
    let context = parent.map_or_else(Context::new, |(trace, place, flags)| {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(trace),
            SpanId::from(place),
            TraceFlags::new(flags),
            true,
            TraceState::default(),
        ))
    });
    Some(tracer.build_with_context(builder, &context))
}

/// Sends what is left, and ends the export. Waits a few seconds at most; not
/// to be called from a task.
pub fn flush() {
    if let Some(export) = EXPORT.get() {
        // A collector that is away is no reason to hold up the end.
        let _ = export.provider.shutdown_with_timeout(LAST);
    }
}

/// One connection for each batch: there is one every few seconds. Called from
/// the exporter's own thread, which knows no Tokio: hence a runtime of its own.
struct Collector {
    address: String,
    runtime: tokio::runtime::Runtime,
    /// Whether the last batch was lost, so that only changes are logged.
    failing: AtomicBool,
}

impl Collector {
    fn new(endpoint: &str) -> Result<Self, OtlpError> {
        let uri: Uri = endpoint.parse().map_err(|_| OtlpError::Address)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(OtlpError::Scheme),
            _ => return Err(OtlpError::Address),
        }
        if uri
            .authority()
            .is_some_and(|all| all.as_str().contains('@'))
        {
            return Err(OtlpError::Credentials);
        }
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or(OtlpError::Address)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OtlpError::Thread)?;
        Ok(Self {
            address: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            runtime,
            failing: AtomicBool::new(false),
        })
    }

    fn note(&self, failure: Option<&str>) {
        metrics::exported(failure.is_none());
        let before = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(why) if !before => {
                let to = &self.address;
                warn!("traces are lost: {to} does not take them: {why}");
            }
            None if before => info!("{} takes traces again", self.address),
            _ => {}
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The timer has to be made within the runtime, too.
        let sent = self.runtime.block_on(async {
            tokio::time::timeout(TIMEOUT, send(&self.address, request))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}").into()))
        });
        let failure = match &sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        self.note(failure.as_deref());
        sent
    }
}

async fn send(address: &str, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let found: Vec<_> = address.to_socket_addrs()?.collect();
    let stream = tokio::net::TcpStream::connect(found.as_slice()).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority() {
        let host = authority.as_str().parse()?;
        parts.headers.insert(header::HOST, host);
    }
    // To an origin server, requests name the path alone.
    if let Some(path) = parts.uri.path_and_query().cloned() {
        parts.uri = path.into();
    }
    let request = Request::from_parts(parts, Full::new(body));
    let answer = async {
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(parts, body))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            // With the answer, as a rule; without it this fails at once.
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_cannot_be_reached_in_this_way_is_refused() {
        let refused = |endpoint| Collector::new(endpoint).unwrap_err().to_string();
        assert!(refused("https://collector:4318").contains("TLS"));
        assert!(refused("collector:4318").contains("not an address"));
        assert!(refused("grpc://collector:4317").contains("not an address"));
        assert!(refused("").contains("not an address"));
        assert!(refused("http://me:secret@collector").contains("HEADERS"));
        let plain = Collector::new("http://[::1]").unwrap();
        assert_eq!(plain.address, "[::1]:80");
    }
}
