//! `POST /api/deployments`: makes a workflow live.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use millrace_proto::Finding;
use millrace_proto::runtime::v1::Violation;

use super::posted::Posted;
use crate::media::Media;
use crate::problem::Problem;
use crate::query::Query;
use crate::runtimes::CallError;
use crate::shapes::Deployment;
use crate::{Gateway, body};

/// 201 with the deployment when this made a version of it, 200 when exactly
/// this was live already.
pub async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).finish(&[])?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let posted = match Media::of(&parts.headers) {
        Media::Json => Posted::bundle(&bytes)?,
        Media::Yaml => Posted::document(&bytes)?,
        Media::Text | Media::Form | Media::Multipart | Media::Other => {
            return Err(Problem::media_type("application/json or application/yaml"));
        }
    };
    let request = posted.request();
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.deploy_workflow(request).await
        })
        .await
        .map_err(|error| match error {
            CallError::Refused(mut failure) => {
                posted.place(&mut failure.findings);
                CallError::Refused(failure)
            }
            CallError::Unreachable => error,
        })?;
    if answer.changed {
        // Its paths may shadow wider ones that are cached.
        gateway.webhooks.clear();
    }
    let status = if answer.changed {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut warnings: Vec<Finding> = answer.warnings.into_iter().map(finding).collect();
    posted.place(&mut warnings);
    let deployment = Deployment::answered(answer.deployment)?.with_warnings(warnings);
    Ok((status, Json(deployment)).into_response())
}

pub(super) fn finding(violation: Violation) -> Finding {
    Finding {
        pointer: violation.pointer,
        line: violation.line,
        column: violation.column,
        message: violation.message,
    }
}
