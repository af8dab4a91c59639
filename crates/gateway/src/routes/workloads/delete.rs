//! `DELETE /api/workloads/{id}`: stops it; its logs and its data go with it.

use axum::extract::State;
use http::StatusCode;
use millrace_proto::orchestrator::v1::DeleteWorkloadRequest;
use millrace_types::WorkloadId;

use crate::Gateway;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::routes::PathId;

/// How long the stop before it may take, over the patience of any call.
const STOP: std::time::Duration = std::time::Duration::from_mins(2);

/// 204.
pub async fn delete(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
) -> Result<StatusCode, Problem> {
    gateway
        // A repeat would not find what the first has deleted.
        .ask(Repeat::Never, STOP, |mut client, _| {
            let workload_id = id.text.clone();
            async move {
                client
                    .delete_workload(DeleteWorkloadRequest { workload_id })
                    .await
            }
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
