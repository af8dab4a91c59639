//! `POST /api/deployments/{id}/resume`

use axum::Json;
use axum::extract::State;
use millrace_proto::runtime::v1::ResumeDeploymentRequest;
use millrace_types::DeploymentId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Deployment;

pub async fn resume(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
) -> Result<Json<Deployment>, Problem> {
    let request = ResumeDeploymentRequest {
        deployment_id: id.text,
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.resume_deployment(request).await
        })
        .await?;
    Deployment::answered(answer.deployment).map(Json)
}
