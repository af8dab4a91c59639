//! Whether a sender may start this webhook, before anything is started.

use http::request::Parts;
use millrace_signature::{RequestParts, Verified, verify};
use millrace_types::Timestamp;

use super::route::Route;
use crate::problem::Problem;

/// Judges the request as it was received. The sender learns that it failed,
/// the log why.
pub fn authenticate(route: &Route, parts: &Parts, body: &[u8]) -> Result<Verified, Problem> {
    let request = RequestParts {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        body,
    };
    verify(&route.auth, &request, Timestamp::now()).map_err(|error| {
        let scheme = route.auth.scheme();
        tracing::info!(
            trigger.id = route.trigger_id,
            deployment.id = route.deployment_id,
            scheme = scheme.name(),
            reason = error.reason(),
            "a webhook's sender was refused: {error}"
        );
        Problem::unauthenticated(scheme.challenge())
    })
}
