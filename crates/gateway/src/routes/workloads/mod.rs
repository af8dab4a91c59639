//! `/api/workloads…`

mod create;
mod delete;
mod get;
mod list;
mod logs;
mod restart;
mod start;
mod status;
mod stop;
mod stream;

pub use create::create;
pub use delete::delete;
pub use get::get;
pub use list::list;
pub use logs::logs;
pub use restart::restart;
pub use start::start;
pub use status::status;
pub use stop::stop;
pub use stream::stream;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::Workload;

/// 200 when what was asked for has come to its end, 202 while it is under way.
fn changed(
    settled: bool,
    workload: Option<millrace_proto::orchestrator::v1::Workload>,
) -> Result<Response, Problem> {
    let status = if settled {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(Workload::answered(workload)?)).into_response())
}

/// `stream=stdout|stderr|system`; empty for all.
fn stream_of(query: &mut Query<'_>) -> Result<String, Problem> {
    let stream = query.text("stream")?.unwrap_or_default();
    if matches!(stream.as_str(), "" | "stdout" | "stderr" | "system") {
        return Ok(stream);
    }
    Err(Problem::parameter(
        "stream",
        "`stream` has to be stdout, stderr or system.",
    ))
}

/// A sequence number of the log; 0 when it is not given.
fn after_of(query: &mut Query<'_>) -> Result<Option<u64>, Problem> {
    query
        .text("after")?
        .map(|text| {
            text.parse().map_err(|_| {
                Problem::parameter("after", "`after` has to be a sequence number of the log.")
            })
        })
        .transpose()
}
