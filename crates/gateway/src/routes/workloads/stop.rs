//! `POST /api/workloads/{id}/stop[?wait=60s]`

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use millrace_proto::orchestrator::v1::StopWorkloadRequest;
use millrace_types::WorkloadId;

use crate::Gateway;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;

pub async fn stop(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let wait = query.wait()?.unwrap_or_default();
    query.finish(&["wait"])?;
    let answer = gateway
        .ask(Repeat::Freely, wait, |mut client, wait_ms| {
            let workload_id = id.text.clone();
            let request = StopWorkloadRequest {
                workload_id,
                wait_ms,
            };
            async move { client.stop_workload(request).await }
        })
        .await?;
    super::changed(answer.settled, answer.workload)
}
