//! `/api/projects…`

mod create;
mod delete;
mod get;
mod list;
mod services;
mod start;
mod stop;
mod update;

pub use create::create;
pub use delete::delete;
pub use get::get;
pub use list::list;
pub use services::services;
pub use start::start;
pub use stop::stop;
pub use update::update;

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use millrace_proto::orchestrator::v1::Workload;

use crate::problem::Problem;
use crate::shapes::{Page, WorkloadStatus};

/// How long a project may take to come from Git, over the patience of any
/// call: the orchestrator gives up before.
const FETCH: Duration = Duration::from_mins(5);

/// The workloads of a project that was started or stopped: 200 when each has
/// come to where it goes, 202 while one is under way.
fn workloads(workloads: Vec<Workload>) -> Result<Response, Problem> {
    let settled = workloads
        .iter()
        .all(|workload| matches!(workload.stage.as_str(), "running" | "stopped" | "failed"));
    let status = if settled {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let page = Page::of(workloads, String::new(), |workload| {
        Ok(WorkloadStatus::from(workload))
    })?;
    Ok((status, Json(page)).into_response())
}
