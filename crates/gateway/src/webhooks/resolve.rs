//! From a path to its route.

use std::sync::Arc;

use http::Method;
use millrace_proto::runtime::v1::ResolveWebhookRequest;
use millrace_types::ErrorKind;

use super::route::Route;
use crate::Gateway;
use crate::problem::Problem;
use crate::runtimes::CallError;

#[derive(Debug)]
pub struct Found {
    pub route: Arc<Route>,
    /// Whether it was kept from before.
    pub cached: bool,
}

/// The trigger behind the path, from the cache or from a runtime.
pub async fn resolve(
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
    let request = ResolveWebhookRequest {
        path: path.to_owned(),
        method: method.as_str().to_owned(),
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.resolve_webhook(request).await
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

fn unknown(path: &str) -> Problem {
    Problem::not_found(format!("No webhook listens at `{path}`."))
}
