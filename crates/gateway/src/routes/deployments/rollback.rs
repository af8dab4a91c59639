//! `POST /api/deployments/{id}/rollback` with `{"version": n}`

use axum::Json;
use axum::extract::{Request, State};
use millrace_proto::runtime::v1::RollbackDeploymentRequest;
use millrace_types::DeploymentId;

use crate::fields::Fields;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Deployment;
use crate::{Gateway, body};

pub async fn rollback(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
    request: Request,
) -> Result<Json<Deployment>, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let mut fields = Fields::read(&parts, &bytes)?;
    let version = fields.required::<u32>("version", "has to be the number of a version");
    fields.finish()?;
    let request = RollbackDeploymentRequest {
        deployment_id: id.text,
        version: version.unwrap_or_default(),
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.rollback_deployment(request).await
        })
        .await?;
    gateway.webhooks.clear();
    Deployment::answered(answer.deployment).map(Json)
}
