//! `POST /api/deployments/plan`: what a deploy of the same body would do.

use axum::Json;
use axum::extract::{Request, State};
use millrace_proto::Finding;
use millrace_proto::runtime::v1::{PlanDeploymentRequest, Violation};
use serde::Serialize;
use serde_json::value::RawValue;

use super::create::finding;
use super::posted::Posted;
use crate::media::Media;
use crate::problem::{Problem, ProblemError};
use crate::query::Query;
use crate::{Gateway, body};

/// What would come of a deploy; docs/PLAN.md describes it.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Whether it could be deployed.
    valid: bool,
    /// What prevents it.
    diagnostics: Vec<ProblemError>,
    warnings: Vec<ProblemError>,
    /// `null` when it is not valid.
    plan: Option<Box<RawValue>>,
}

pub async fn plan(State(gateway): State<Gateway>, request: Request) -> Result<Json<Plan>, Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).finish(&[])?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let posted = match Media::of(&parts.headers) {
        Media::Json => Posted::bundle(&bytes)?,
        Media::Yaml => Posted::document(&bytes)?,
        _ => {
            return Err(Problem::media_type("application/json or application/yaml"));
        }
    };
    let deploy = posted.request();
    let request = PlanDeploymentRequest {
        document: deploy.document,
        triggers_json: deploy.triggers_json,
        config_json: deploy.config_json,
        document_pointer: deploy.document_pointer,
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.plan_deployment(request).await
        })
        .await?;
    let placed = |violations: Vec<Violation>| -> Vec<ProblemError> {
        let mut findings: Vec<Finding> = violations.into_iter().map(finding).collect();
        posted.place(&mut findings);
        findings.into_iter().map(ProblemError::from).collect()
    };
    let plan = match answer.changes_json {
        text if text.is_empty() => None,
        text => Some(RawValue::from_string(text).map_err(|error| Problem::internal(&error))?),
    };
    Ok(Json(Plan {
        valid: plan.is_some(),
        diagnostics: placed(answer.diagnostics),
        warnings: placed(answer.warnings),
        plan,
    }))
}
