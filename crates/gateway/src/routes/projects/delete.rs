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
    let request = DeleteProjectRequest {
        project_id: id.text,
    };
    gateway
        // A repeat would not find what the first has deleted.
        .send(Repeat::Never, request, |mut client, request| async move {
            client.delete_project(request).await
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
