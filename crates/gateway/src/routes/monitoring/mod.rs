//! `/api/monitoring/…`: figures, each bounded and honest about where it was
//! cut. `deployments` and `executions` are lists `{items, next}` like any
//! other; the rest are single objects. Their shapes are those of the runtime.

mod deployments;
mod executions;
mod load;
mod scheduling;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

pub use deployments::deployments;
pub use executions::executions;
pub use load::load;
pub use scheduling::{jitter, scheduling};

/// The runtime's answer, as it is: JSON.
fn shown(json: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, json).into_response()
}
