//! `POST /api/projects/{id}/start[?wait=60s]`: all its services, in the order
//! of what depends on what.

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use millrace_proto::orchestrator::v1::StartProjectRequest;
use millrace_types::ProjectId;

use crate::Gateway;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;

/// `{items: [workload], next: null}`
pub async fn start(
    State(gateway): State<Gateway>,
    id: PathId<ProjectId>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let wait = query.wait()?.unwrap_or_default();
    query.finish(&["wait"])?;
    let answer = gateway
        .ask(Repeat::Freely, wait, |mut client, wait_ms| {
            let project_id = id.text.clone();
            let request = StartProjectRequest {
                project_id,
                wait_ms,
            };
            async move { client.start_project(request).await }
        })
        .await?;
    super::workloads(answer.workloads)
}
