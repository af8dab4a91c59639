//! `GET /api/executions/{id}`

use axum::Json;
use axum::extract::State;
use millrace_proto::runtime::v1::GetExecutionRequest;
use millrace_types::ExecutionId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Execution;

pub async fn get(
    State(gateway): State<Gateway>,
    id: PathId<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    let request = GetExecutionRequest {
        execution_id: id.text,
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.get_execution(request).await
        })
        .await?;
    Execution::answered(answer.execution).map(Json)
}
