//! `PATCH /api/deployments/{id}`: a JSON merge patch over what is live.

use axum::Json;
use axum::extract::{Request, State};
use millrace_proto::Finding;
use millrace_proto::runtime::v1::{UpdateDeploymentRequest, Violation};
use millrace_types::DeploymentId;

use crate::json::{JsonText, Members, locate, position};
use crate::media::Media;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::runtimes::CallError;
use crate::shapes::Deployment;
use crate::{Gateway, body};

/// 200 with the deployment, of which `version` tells whether it changed.
pub async fn update(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
    request: Request,
) -> Result<Json<Deployment>, Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).finish(&[])?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    if Media::of(&parts.headers) != Media::Json {
        return Err(Problem::media_type(
            "application/merge-patch+json or application/json",
        ));
    }
    let patch = JsonText::check(bytes)
        .map_err(|fault| Problem::findings("The body is not valid JSON.", vec![fault.into()]))?
        .to_text();
    let request = UpdateDeploymentRequest {
        deployment_id: id.text,
        patch_json: patch.clone(),
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.update_deployment(request).await
        })
        .await
        .map_err(|error| match error {
            CallError::Refused(mut failure) => {
                place(&patch, &mut failure.findings);
                CallError::Refused(failure)
            }
            CallError::Unreachable => error,
        })?;
    if answer.changed {
        gateway.webhooks.clear();
    }
    let mut warnings: Vec<Finding> = answer.warnings.into_iter().map(finding).collect();
    place(&patch, &mut warnings);
    let deployment = Deployment::answered(answer.deployment)?.with_warnings(warnings);
    Ok(Json(deployment))
}

fn finding(violation: Violation) -> Finding {
    Finding {
        pointer: violation.pointer,
        line: violation.line,
        column: violation.column,
        message: violation.message,
    }
}

/// Makes the places of findings those of the posted body. A document that
/// came as YAML text keeps its own lines; one that was merged has none but
/// the nearest member of the patch.
pub(super) fn place(body: &str, findings: &mut [Finding]) {
    let yaml = serde_json::from_str::<Members<'_>>(body).is_ok_and(|members| {
        let mut members = members.0.iter();
        members.any(|m| m.key == "workflow" && m.value.get().starts_with('"'))
    });
    for finding in findings {
        let own = yaml && finding.pointer.starts_with("/workflow") && finding.line > 0;
        if !own && !finding.pointer.is_empty() {
            let place = position(body, locate(body, &finding.pointer));
            finding.line = place.line;
            finding.column = place.column;
        }
    }
}
