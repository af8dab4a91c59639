//! The index of what the gateway answers.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Router, middleware};
use millrace_service::metrics;
use millrace_service::trace_context::TraceLayer;

use crate::Gateway;
use crate::access;
use crate::openapi::openapi;
use crate::problem::Problem;
use crate::registry::Registry;
use crate::routes::{
    deployments, events, executions, health, monitoring, projects, services, triggers, workloads,
};
use crate::webhooks;

/// Every route. Who may call it is in `millrace_service::access::table`.
pub(crate) fn registry() -> Registry {
    Registry::default()
        .post("/api/deployments", deployments::create)
        .get("/api/deployments", deployments::list)
        .post("/api/deployments/plan", deployments::plan)
        .get("/api/deployments/{id}", deployments::get)
        .patch("/api/deployments/{id}", deployments::update)
        .delete("/api/deployments/{id}", deployments::delete)
        .get("/api/deployments/{id}/versions", deployments::versions)
        .post("/api/deployments/{id}/rollback", deployments::rollback)
        .post("/api/deployments/{id}/trigger", deployments::trigger)
        .post(
            "/api/deployments/{id}/webhooks",
            deployments::register_webhook,
        )
        .post("/api/deployments/{id}/pause", deployments::pause)
        .post("/api/deployments/{id}/resume", deployments::resume)
        .get("/api/executions", executions::list)
        .get("/api/executions/{id}", executions::get)
        .get("/api/executions/{id}/history", executions::history)
        .post("/api/executions/{id}/cancel", executions::cancel)
        .post("/api/executions/{id}/rerun", executions::rerun)
        .delete("/api/triggers/{id}", triggers::unregister)
        .get("/api/executions/{id}/stream", executions::stream)
        .get("/api/monitoring/deployments", monitoring::deployments)
        .get("/api/monitoring/executions", monitoring::executions)
        .get("/api/monitoring/scheduling", monitoring::scheduling)
        .get("/api/monitoring/jitter", monitoring::jitter)
        .get("/api/monitoring/load", monitoring::load)
        .get("/api/monitoring/health", health::health)
        .get("/api/triggers/{id}/fires", triggers::fires)
        .get("/api/triggers/{id}/preview", triggers::preview)
        .post("/api/triggers/{id}/backfill", triggers::backfill)
        .post("/api/projects", projects::create)
        .get("/api/projects", projects::list)
        .get("/api/projects/{id}", projects::get)
        .patch("/api/projects/{id}", projects::update)
        .delete("/api/projects/{id}", projects::delete)
        .get("/api/projects/{id}/services", projects::services)
        .post("/api/projects/{id}/start", projects::start)
        .post("/api/projects/{id}/stop", projects::stop)
        .post("/api/workloads", workloads::create)
        .get("/api/workloads", workloads::list)
        .get("/api/workloads/{id}", workloads::get)
        .delete("/api/workloads/{id}", workloads::delete)
        .get("/api/workloads/{id}/status", workloads::status)
        .post("/api/workloads/{id}/start", workloads::start)
        .post("/api/workloads/{id}/stop", workloads::stop)
        .post("/api/workloads/{id}/restart", workloads::restart)
        .get("/api/workloads/{id}/logs", workloads::logs)
        .get("/api/workloads/{id}/logs/stream", workloads::stream)
        .any("/services/{*path}", services::service)
        .post("/api/events", events::publish)
        .any("/webhooks/{*path}", webhooks::receive)
        .any("/webhooks-test/{*path}", webhooks::try_out)
        .get("/api/openapi.json", openapi)
        .get("/health", health::health)
        .get("/metrics", async || metrics::page().await)
        .get("/livez", health::livez)
        .get("/readyz", health::readyz)
}

/// All routes with what stands in front of them.
pub(crate) fn router(gateway: Gateway) -> Router {
    crate::metrics::describe();
    let (router, _) = registry().finish();
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(
            gateway.clone(),
            access::guard,
        ))
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
