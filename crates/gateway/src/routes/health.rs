//! `/health` for people and dashboards, `/livez` and `/readyz` for whoever
//! starts, stops and routes to this process.

use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{HeaderValue, StatusCode, header};
use millrace_proto::runtime::v1::monitoring_service_client::MonitoringServiceClient;
use millrace_proto::runtime::v1::{
    DependencyHealth, GetSystemHealthRequest, GetSystemHealthResponse,
};
use millrace_service::Transport;
use millrace_service::access::Caller;
use millrace_types::{ErrorKind, Timestamp};
use serde::Serialize;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Gateway;
use crate::problem::Problem;

const HEALTHY: &str = "healthy";
const DEGRADED: &str = "degraded";
const UNHEALTHY: &str = "unhealthy";
const DISABLED: &str = "disabled";
/// There was nobody to ask.
const UNKNOWN: &str = "unknown";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    timestamp: Timestamp,
    version: &'static str,
    dependencies: Dependencies,
}

/// Named as they are configured, not in lowerCamelCase.
#[derive(Serialize)]
struct Dependencies {
    database: Dependency,
    redis: Dependency,
    workflow_engine: Dependency,
    orchestrator: Dependency,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    status: &'static str,
    /// A detail, as the message is.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

impl Dependency {
    fn new(status: &'static str, since: Instant, message: &str) -> Self {
        let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
        Self {
            status,
            latency_ms: Some(f64::from(micros) / 1000.0),
            message: message.to_owned(),
        }
    }

    fn without_details(self) -> Self {
        Self {
            latency_ms: None,
            message: String::new(),
            ..self
        }
    }
}

impl Dependencies {
    fn without_details(self) -> Self {
        Self {
            database: self.database.without_details(),
            redis: self.redis.without_details(),
            workflow_engine: self.workflow_engine.without_details(),
            orchestrator: self.orchestrator.without_details(),
        }
    }
}

impl From<&DependencyHealth> for Dependency {
    fn from(health: &DependencyHealth) -> Self {
        let known = [HEALTHY, DEGRADED, UNHEALTHY, DISABLED];
        let status = known
            .into_iter()
            .find(|name| *name == health.status)
            .unwrap_or(UNKNOWN);
        Self {
            status,
            latency_ms: Some(health.latency_ms),
            message: health.message.clone(),
        }
    }
}

/// 503 when nothing can be accepted, else 200. Not everybody sees the details.
pub async fn health(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let begun = Instant::now();
    let (runtime, orchestrator) =
        futures::join!(ask_runtimes(&gateway), ask_orchestrator(&gateway));
    let dependency = |name: &str| match &runtime {
        None => Dependency::new(UNKNOWN, begun, "no runtime answered"),
        Some(health) => health
            .dependencies
            .iter()
            .find(|d| d.name == name)
            .map_or_else(
                || Dependency::new(UNKNOWN, begun, "the runtime does not report it"),
                Dependency::from,
            ),
    };
    let dependencies = Dependencies {
        database: dependency("database"),
        redis: dependency("redis"),
        workflow_engine: dependency("workflow_engine"),
        orchestrator,
    };
    let status = overall(runtime.as_ref(), &dependencies);
    let code = if status == UNHEALTHY {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = Health {
        status,
        timestamp: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION"),
        dependencies: if gateway.guard.shows_details_to(&caller) {
            dependencies
        } else {
            dependencies.without_details()
        },
    };
    (code, uncached(), Json(body)).into_response()
}

/// Only a database that is down, or the lack of a runtime, stops everything.
fn overall(runtime: Option<&GetSystemHealthResponse>, dependencies: &Dependencies) -> &'static str {
    let Some(runtime) = runtime else {
        return UNHEALTHY;
    };
    if runtime.status == UNHEALTHY || dependencies.database.status == UNHEALTHY {
        return UNHEALTHY;
    }
    let limps = [
        &dependencies.database,
        &dependencies.redis,
        &dependencies.workflow_engine,
        &dependencies.orchestrator,
    ]
    .into_iter()
    .any(|dependency| matches!(dependency.status, UNHEALTHY | DEGRADED));
    if limps || runtime.status == DEGRADED {
        DEGRADED
    } else {
        HEALTHY
    }
}

/// The first answer of any runtime, so that one that hangs delays nothing.
async fn ask_runtimes(gateway: &Gateway) -> Option<GetSystemHealthResponse> {
    let ask = |transport| async move {
        MonitoringServiceClient::new(transport)
            .get_system_health(GetSystemHealthRequest {})
            .await
            .map(tonic::Response::into_inner)
    };
    first_of(gateway, ask).await
}

/// Asks all runtimes at once, and takes the first good answer.
async fn first_of<T, F, Fut>(gateway: &Gateway, ask: F) -> Option<T>
where
    F: Fn(Transport) -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let mut asked: FuturesUnordered<_> =
        gateway.runtimes.transports().into_iter().map(ask).collect();
    let first = async {
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(answer) => return Some(answer),
                Err(status) => tracing::debug!(error = %status, "a runtime is not well"),
            }
        }
        None
    };
    timeout(gateway.config.health_timeout, first)
        .await
        .unwrap_or_default()
}

async fn ask_orchestrator(gateway: &Gateway) -> Dependency {
    let begun = Instant::now();
    let Some(transport) = gateway.orchestrator.clone() else {
        return Dependency::new(DISABLED, begun, "");
    };
    match timeout(gateway.config.health_timeout, takes_calls(transport)).await {
        Ok(Ok(())) => Dependency::new(HEALTHY, begun, ""),
        Ok(Err(status)) => {
            tracing::debug!(error = %status, "the orchestrator is not well");
            Dependency::new(UNHEALTHY, begun, "it does not take calls")
        }
        Err(_) => Dependency::new(UNHEALTHY, begun, "it did not answer in time"),
    }
}

/// The standard health check of the server as a whole.
async fn takes_calls(transport: Transport) -> Result<(), Status> {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    match HealthClient::new(transport).check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(_) => Err(Status::unavailable("it is not serving")),
        // It answers, and merely has no health service: one in this process.
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        Err(status) => Err(status),
    }
}

/// This process runs; nothing else is looked at.
pub async fn livez() -> impl IntoResponse {
    (uncached(), Json(Plain { status: "ok" }))
}

/// Whether a runtime takes calls, whatever state its dependencies are in: with
/// the database down no other gateway would do better, and a cache that hangs
/// must not take gateways out of service.
pub async fn readyz(State(gateway): State<Gateway>) -> Result<impl IntoResponse, Problem> {
    if gateway.is_retiring() {
        return Err(Problem::new(
            ErrorKind::Unavailable,
            "This gateway is stopping.",
        ));
    }
    match first_of(&gateway, takes_calls).await {
        Some(()) => Ok((uncached(), Json(Plain { status: "ok" }))),
        None => Err(Problem::new(ErrorKind::Unavailable, "No runtime answers.")),
    }
}

#[derive(Serialize)]
struct Plain {
    status: &'static str,
}

fn uncached() -> [(header::HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}
