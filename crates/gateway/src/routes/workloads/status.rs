//! `GET /api/workloads/{id}/status`: the workload without its instances.

use axum::Json;
use axum::extract::State;
use millrace_proto::orchestrator::v1::GetWorkloadRequest;
use millrace_types::WorkloadId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::WorkloadStatus;

pub async fn status(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
) -> Result<Json<WorkloadStatus>, Problem> {
    let request = GetWorkloadRequest {
        workload_id: id.text,
    };
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.get_workload(request).await
        })
        .await?;
    WorkloadStatus::answered(answer.workload).map(Json)
}
