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
    let answer = gateway
        .read(|mut client| {
            let project_id = id.text.clone();
            async move { client.get_project(GetProjectRequest { project_id }).await }
        })
        .await?;
    Project::answered(answer.project).map(Json)
}
