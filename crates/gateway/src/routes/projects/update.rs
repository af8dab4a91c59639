//! `PATCH /api/projects/{id}`: a JSON merge patch over `{name, localPath}` or
//! `{name, git}`; one that names `git` fetches.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use millrace_proto::orchestrator::v1::UpdateProjectRequest;
use millrace_types::ProjectId;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::create::placed;
use crate::json::JsonText;
use crate::media::Media;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::Project;
use crate::{Gateway, body};

/// Whether a patch names a source: that takes its time.
#[derive(Deserialize)]
struct Source {
    git: Option<IgnoredAny>,
}

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
    let source = serde_json::from_str::<Source>(&request.patch_json);
    let (repeat, wait) = if source.is_ok_and(|source| source.git.is_some()) {
        (Repeat::Never, super::FETCH)
    } else {
        (Repeat::Freely, Duration::ZERO)
    };
    let answer = gateway
        .ask(repeat, wait, |mut client, _| {
            let request = request.clone();
            async move { client.update_project(request).await }
        })
        .await
        .map_err(|error| placed(error, &bytes))?;
    Project::answered(answer.project).map(Json)
}
