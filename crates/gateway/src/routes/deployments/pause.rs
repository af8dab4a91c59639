//! `POST /api/deployments/{id}/pause`

use axum::Json;
use axum::extract::State;
use millrace_proto::runtime::v1::PauseDeploymentRequest;
use millrace_types::DeploymentId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Deployment;

pub async fn pause(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
) -> Result<Json<Deployment>, Problem> {
    let request = PauseDeploymentRequest {
        deployment_id: id.text,
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.pause_deployment(request).await
        })
        .await?;
    Deployment::answered(answer.deployment).map(Json)
}
