//! Takes one webhook from its path to a durable execution.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use millrace_proto::runtime::v1::ResolveWebhookRequest;
use millrace_types::{ErrorKind, ExecutionId};

use super::authenticate::authenticate;
use super::route::{InputMode, RespondMode, Route};
use super::{input, path, payload};
use crate::admit::{Admission, dedupe_key};
use crate::json::JsonText;
use crate::problem::Problem;
use crate::runtimes::CallError;
use crate::{Gateway, body};

/// Why the runtime wants the path to be resolved again.
const STALE_TRIGGER: &str = "stale-trigger";

/// 202 once the execution is durable; 200 with the ended execution where the
/// trigger responds with results.
pub async fn receive(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // Read before anything is refused, so that the caller sees the answer.
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let path = path::of(&parts.uri)?;
    let execution_id = ExecutionId::new();
    // Whether a route that is kept may be used, which may be an old one.
    let mut cached = true;
    let mut last_try = false;
    loop {
        let found = resolve(&gateway, &parts.method, &path, cached).await?;
        let route = found.route;
        let verified = match authenticate(&route, &parts, &bytes) {
            // The secret may just have been exchanged.
            Err(_) if found.cached => {
                cached = false;
                continue;
            }
            verified => verified?,
        };
        let message = match verified.message_id {
            Some(id) => id,
            None => dedupe_key(&parts.headers)?.to_owned(),
        };
        let input = input_for(&route, &parts, &path, bytes.clone()).await?;
        let admission = Admission {
            execution_id,
            deployment_id: &route.deployment_id,
            trigger: Some((&route.trigger_id, route.revision)),
            dedupe_key: &message,
            wait: match route.respond {
                RespondMode::Accepted => Duration::ZERO,
                RespondMode::Result => gateway.config.respond_wait,
            },
        };
        match admission.admit(&gateway, &input).await {
            Err(error) if !last_try && is_stale(&error) => {
                gateway
                    .webhooks
                    .forget(&parts.method, &path, route.revision);
                last_try = true;
            }
            answer => return answer?.into_response(),
        }
    }
}

struct Found {
    route: Arc<Route>,
    /// Whether it was kept from before.
    cached: bool,
}

/// The trigger behind the path, from the cache or from a runtime.
async fn resolve(
    gateway: &Gateway,
    method: &Method,
    path: &str,
    cached: bool,
) -> Result<Found, Problem> {
    if cached && let Some(route) = gateway.webhooks.get(method, path) {
        return Ok(Found {
            route,
            cached: true,
        });
    }
    let answer = gateway
        .runtimes
        .call(|mut client| {
            let request = ResolveWebhookRequest {
                path: path.to_owned(),
                method: method.as_str().to_owned(),
            };
            async move { client.resolve_webhook(request).await }
        })
        .await
        .map_err(|error| match error {
            CallError::Refused(failure) if failure.kind == ErrorKind::NotFound => unknown(path),
            other => other.into(),
        })?;
    if answer.trigger_id.is_empty() {
        return Err(match answer.allowed_methods.as_slice() {
            [] => unknown(path),
            methods => Problem::method_not_allowed(Some(methods)),
        });
    }
    let keys = gateway.config.sealing_keys.as_ref();
    let route = Arc::new(Route::read(answer, keys)?);
    gateway.webhooks.insert(method, path, Arc::clone(&route));
    Ok(Found {
        route,
        cached: false,
    })
}

async fn input_for(
    route: &Route,
    parts: &Parts,
    path: &str,
    bytes: Bytes,
) -> Result<JsonText, Problem> {
    let body = payload::read(&parts.headers, bytes).await?;
    match route.input {
        InputMode::Body => Ok(body),
        InputMode::Request => input::of_request(
            &parts.method,
            &parts.uri,
            path,
            &route.params,
            &parts.headers,
            route.auth.scheme().credential().as_ref(),
            &body,
        ),
    }
}

/// The trigger has changed, or has gone and left its path to another.
fn is_stale(error: &CallError) -> bool {
    let CallError::Refused(failure) = error else {
        return false;
    };
    match failure.kind {
        ErrorKind::Precondition => failure.reason == STALE_TRIGGER,
        kind => kind == ErrorKind::NotFound,
    }
}

fn unknown(path: &str) -> Problem {
    Problem::not_found(format!("No webhook listens at `{path}`."))
}
