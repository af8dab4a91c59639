//! `GET /api/monitoring/deployments?deploymentId=&cursor=&limit=`: what
//! deployments did in the last day. A page holds 100 at most.

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use millrace_proto::runtime::v1::GetDeploymentStatsRequest;
use millrace_types::DeploymentId;

use super::shown;
use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;

pub async fn deployments(State(gateway): State<Gateway>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let request = GetDeploymentStatsRequest {
        deployment_id: query.parsed::<DeploymentId>("deploymentId")?,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["deploymentId", "cursor", "limit"])?;
    let answer = gateway
        .runtimes
        .call_monitoring(|mut client| {
            let request = request.clone();
            async move { client.get_deployment_stats(request).await }
        })
        .await?;
    Ok(shown(answer.stats_json))
}
