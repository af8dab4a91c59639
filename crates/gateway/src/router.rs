//! The index of what the gateway answers.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use axum::{Router, middleware};
use millrace_service::metrics;
use millrace_service::trace_context::TraceLayer;

use crate::Gateway;
use crate::openapi::openapi;
use crate::problem::Problem;
use crate::routes::{
    deployments, events, executions, health, monitoring, projects, services, triggers, workloads,
};
use crate::webhooks;

pub(crate) fn router(gateway: Gateway) -> Router {
    crate::metrics::describe();
    Router::new()
        .route(
            "/api/deployments",
            post(deployments::create).get(deployments::list),
        )
        .route("/api/deployments/plan", post(deployments::plan))
        .route(
            "/api/deployments/{id}",
            get(deployments::get)
                .patch(deployments::update)
                .delete(deployments::delete),
        )
        .route("/api/deployments/{id}/versions", get(deployments::versions))
        .route(
            "/api/deployments/{id}/rollback",
            post(deployments::rollback),
        )
        .route("/api/deployments/{id}/trigger", post(deployments::trigger))
        .route(
            "/api/deployments/{id}/webhooks",
            post(deployments::register_webhook),
        )
        .route("/api/deployments/{id}/pause", post(deployments::pause))
        .route("/api/deployments/{id}/resume", post(deployments::resume))
        .route("/api/executions", get(executions::list))
        .route("/api/executions/{id}", get(executions::get))
        .route("/api/executions/{id}/history", get(executions::history))
        .route("/api/executions/{id}/cancel", post(executions::cancel))
        .route("/api/executions/{id}/rerun", post(executions::rerun))
        .route("/api/triggers/{id}", delete(triggers::unregister))
        .route("/api/executions/{id}/stream", get(executions::stream))
        .route("/api/monitoring/deployments", get(monitoring::deployments))
        .route("/api/monitoring/executions", get(monitoring::executions))
        .route("/api/monitoring/scheduling", get(monitoring::scheduling))
        .route("/api/monitoring/jitter", get(monitoring::jitter))
        .route("/api/monitoring/load", get(monitoring::load))
        .route("/api/monitoring/health", get(health::health))
        .route("/api/triggers/{id}/fires", get(triggers::fires))
        .route("/api/triggers/{id}/preview", get(triggers::preview))
        .route("/api/triggers/{id}/backfill", post(triggers::backfill))
        .route("/api/projects", post(projects::create).get(projects::list))
        .route(
            "/api/projects/{id}",
            get(projects::get)
                .patch(projects::update)
                .delete(projects::delete),
        )
        .route("/api/projects/{id}/services", get(projects::services))
        .route("/api/projects/{id}/start", post(projects::start))
        .route("/api/projects/{id}/stop", post(projects::stop))
        .route(
            "/api/workloads",
            post(workloads::create).get(workloads::list),
        )
        .route(
            "/api/workloads/{id}",
            get(workloads::get).delete(workloads::delete),
        )
        .route("/api/workloads/{id}/status", get(workloads::status))
        .route("/api/workloads/{id}/start", post(workloads::start))
        .route("/api/workloads/{id}/stop", post(workloads::stop))
        .route("/api/workloads/{id}/restart", post(workloads::restart))
        .route("/api/workloads/{id}/logs", get(workloads::logs))
        .route("/api/workloads/{id}/logs/stream", get(workloads::stream))
        .route("/services/{*path}", any(services::service))
        .route("/api/events", post(events::publish))
        .route("/webhooks/{*path}", any(webhooks::receive))
        .route("/webhooks-test/{*path}", any(webhooks::try_out))
        .route("/api/openapi.json", get(openapi))
        .route("/health", get(health::health))
        .route("/metrics", get(async || metrics::page().await))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(metrics::record_request))
        .layer(TraceLayer)
        .layer(middleware::from_fn_with_state(
            gateway.clone(),
            part_when_retiring,
        ))
        .with_state(gateway)
}

/// Asks the caller to connect anew when this gateway is about to stop. Over
/// HTTP/2 that is said for a whole connection, when the listener closes.
async fn part_when_retiring(
    State(gateway): State<Gateway>,
    request: Request,
    next: Next,
) -> Response {
    let http2 = request.version() == Version::HTTP_2;
    let mut response = next.run(request).await;
    if gateway.is_retiring() && !http2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn unknown_route(uri: Uri) -> Problem {
    Problem::not_found(format!("There is nothing at `{}`.", uri.path()))
}

/// The Allow header is added by the router.
async fn wrong_method() -> Problem {
    Problem::method_not_allowed(None)
}
