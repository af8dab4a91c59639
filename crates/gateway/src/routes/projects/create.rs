//! `POST /api/projects` with `{name, key, localPath}` or `{name, key, git}`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use millrace_proto::orchestrator::v1::CreateProjectRequest;
use serde_json::value::RawValue;

use crate::fields::Fields;
use crate::json::{locate, position};
use crate::orchestrator::{CallError, Repeat};
use crate::problem::Problem;
use crate::shapes::Project;
use crate::{Gateway, body};

/// 201 with the project.
pub async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let mut fields = Fields::read(&parts, &bytes)?;
    let name = fields.required::<String>("name", "has to be a string");
    let key = fields.required::<String>("key", "has to be a string");
    let local_path = fields.optional::<String>("localPath", "has to be a string");
    let git = fields.optional::<Box<RawValue>>("git", "has to be an object {url, ref}");
    fields.finish()?;
    let request = CreateProjectRequest {
        name: name.unwrap_or_default(),
        key: key.unwrap_or_default(),
        local_path: local_path.unwrap_or_default(),
        git_json: git.map(|git| git.get().to_owned()).unwrap_or_default(),
    };
    let wait = if request.git_json.is_empty() {
        Duration::ZERO
    } else {
        super::FETCH
    };
    let answer = gateway
        .ask(Repeat::Never, wait, |mut client, _| {
            let request = request.clone();
            async move { client.create_project(request).await }
        })
        .await
        .map_err(|error| placed(error, &bytes))?;
    let id = answer
        .project
        .as_ref()
        .map(|project| project.project_id.clone());
    let location = format!("/api/projects/{}", id.unwrap_or_default());
    let project = Project::answered(answer.project)?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(project),
    )
        .into_response())
}

/// With the findings' places in the body.
pub fn placed(mut error: CallError, body: &[u8]) -> CallError {
    if let (CallError::Refused(failure), Ok(body)) = (&mut error, std::str::from_utf8(body)) {
        for finding in &mut failure.findings {
            let place = position(body, locate(body, &finding.pointer));
            finding.line = place.line;
            finding.column = place.column;
        }
    }
    error
}
