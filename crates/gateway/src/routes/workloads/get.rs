//! `GET /api/workloads/{id}`

use axum::Json;
use axum::extract::State;
use millrace_proto::orchestrator::v1::GetWorkloadRequest;
use millrace_types::WorkloadId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Workload;

pub async fn get(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
) -> Result<Json<Workload>, Problem> {
    let request = GetWorkloadRequest {
        workload_id: id.text,
    };
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.get_workload(request).await
        })
        .await?;
    Workload::answered(answer.workload).map(Json)
}
