//! `POST /api/executions/{id}/cancel` with `{"reason": "…"}`, which may be
//! left out.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use millrace_proto::runtime::v1::CancelExecutionRequest;
use millrace_types::ExecutionId;

use crate::fields::Fields;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::Execution;
use crate::{Gateway, body};

/// 200 with the cancelled execution; 202 when its owner has been asked and
/// has not answered yet.
pub async fn cancel(
    State(gateway): State<Gateway>,
    id: PathId<ExecutionId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let mut fields = Fields::read(&parts, &bytes)?;
    let reason = fields.optional::<String>("reason", "has to be a string");
    fields.finish()?;
    let request = CancelExecutionRequest {
        execution_id: id.text,
        reason: reason.unwrap_or_default(),
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.cancel_execution(request).await
        })
        .await?;
    let ended = answer
        .execution
        .as_ref()
        .is_some_and(|execution| execution.status == "CANCELLED");
    let status = if ended {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let execution = Execution::answered(answer.execution)?;
    Ok((status, Json(execution)).into_response())
}
