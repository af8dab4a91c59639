//! `DELETE /api/projects/{id}`: 204; 409 while it has workloads.

use axum::extract::State;
use http::StatusCode;
use millrace_proto::orchestrator::v1::DeleteProjectRequest;
use millrace_types::ProjectId;

use crate::Gateway;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::routes::PathId;

pub async fn delete(
    State(gateway): State<Gateway>,
    id: PathId<ProjectId>,
) -> Result<StatusCode, Problem> {
    gateway
        // A repeat would not find what the first has deleted.
        .ask(Repeat::Never, std::time::Duration::ZERO, |mut client, _| {
            let project_id = id.text.clone();
            async move {
                client
                    .delete_project(DeleteProjectRequest { project_id })
                    .await
            }
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
