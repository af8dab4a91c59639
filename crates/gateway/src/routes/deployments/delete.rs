//! `DELETE /api/deployments/{id}`: archives it; its history stays.

use axum::extract::State;
use http::StatusCode;
use millrace_proto::runtime::v1::DeleteDeploymentRequest;
use millrace_types::DeploymentId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;

/// 204, for one that is archived already too.
pub async fn delete(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
) -> Result<StatusCode, Problem> {
    let request = DeleteDeploymentRequest {
        deployment_id: id.text,
    };
    gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.delete_deployment(request).await
        })
        .await?;
    // A wider path of another deployment may be in reach now.
    gateway.webhooks.clear();
    Ok(StatusCode::NO_CONTENT)
}
