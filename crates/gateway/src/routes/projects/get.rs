//! `GET /api/projects/{id}`

use axum::Json;
use axum::extract::State;
use millrace_proto::orchestrator::v1::GetProjectRequest;
use millrace_types::ProjectId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Project;

pub async fn get(
    State(gateway): State<Gateway>,
    id: PathId<ProjectId>,
) -> Result<Json<Project>, Problem> {
    let request = GetProjectRequest {
        project_id: id.text,
    };
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.get_project(request).await
        })
        .await?;
    Project::answered(answer.project).map(Json)
}
