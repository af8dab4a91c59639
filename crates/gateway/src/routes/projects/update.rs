//! `PATCH /api/projects/{id}`: a JSON merge patch over `{name, localPath}`.

use axum::Json;
use axum::extract::{Request, State};
use millrace_proto::orchestrator::v1::UpdateProjectRequest;
use millrace_types::ProjectId;

use super::create::placed;
use crate::json::JsonText;
use crate::media::Media;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::Project;
use crate::{Gateway, body};

pub async fn update(
    State(gateway): State<Gateway>,
    id: PathId<ProjectId>,
    request: Request,
) -> Result<Json<Project>, Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).finish(&[])?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    if Media::of(&parts.headers) != Media::Json {
        return Err(Problem::media_type(
            "application/merge-patch+json or application/json",
        ));
    }
    let patch = JsonText::check(bytes.clone())
        .map_err(|fault| Problem::findings("The body is not valid JSON.", vec![fault.into()]))?;
    let request = UpdateProjectRequest {
        project_id: id.text,
        patch_json: patch.to_text(),
    };
    let answer = gateway
        .send(Repeat::Freely, request, |mut client, request| async move {
            client.update_project(request).await
        })
        .await
        .map_err(|error| placed(error, &bytes))?;
    Project::answered(answer.project).map(Json)
}
