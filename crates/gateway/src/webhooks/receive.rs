//! Takes one webhook from its path to a durable execution.

use axum::extract::{Request, State};
use axum::response::Response;
use millrace_types::{ErrorKind, ExecutionId};

use super::delivery::Delivery;
use super::resolve::resolve;
use crate::Gateway;
use crate::admit::Admission;
use crate::problem::Problem;
use crate::runtimes::CallError;

/// Why the runtime wants the path to be resolved again.
const STALE_TRIGGER: &str = "stale-trigger";

/// 202 once the execution is durable; 200 with the ended execution, or what
/// is made of it, where the trigger responds with results.
pub async fn receive(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    let delivery = Delivery::read(&gateway, "/webhooks/", request).await?;
    let execution_id = ExecutionId::new();
    // Whether a route that is kept may be used, which may be an old one.
    let mut cached = true;
    let mut counted = false;
    let mut last_try = false;
    loop {
        let found = resolve(&gateway, &delivery.parts.method, &delivery.path, cached).await?;
        let route = found.route;
        let message = match delivery.judge(&gateway, &route) {
            // The secret, or what is allowed, may just have been exchanged.
            Err(_) if found.cached => {
                cached = false;
                continue;
            }
            judged => judged?,
        };
        if !counted {
            // After the sender is known: no stranger uses up the rate.
            delivery.count(&gateway, &route, "").await?;
            counted = true;
        }
        let arrived = delivery.open(&route).await?;
        let admission = Admission {
            execution_id,
            deployment_id: &route.deployment_id,
            trigger: Some((&route.trigger_id, route.revision)),
            dedupe_key: &message,
            request: arrived.request.as_ref(),
            wait: route.respond.wait(&gateway.config),
        };
        match admission.admit(&gateway, &arrived.input).await {
            Err(error) if !last_try && is_stale(&error) => {
                let method = &delivery.parts.method;
                gateway
                    .webhooks
                    .forget(method, &delivery.path, route.revision);
                last_try = true;
            }
            answer => return answer?.into_response(),
        }
    }
}

/// The trigger has changed, or has gone and left its path to another.
pub fn is_stale(error: &CallError) -> bool {
    let CallError::Refused(failure) = error else {
        return false;
    };
    match failure.kind {
        ErrorKind::Precondition => failure.reason == STALE_TRIGGER,
        kind => kind == ErrorKind::NotFound,
    }
}
