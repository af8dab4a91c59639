//! `POST /api/executions/{id}/rerun` with `{"from": "start"}`, which may be
//! left out.

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use millrace_proto::runtime::v1::RerunExecutionRequest;
use millrace_types::ExecutionId;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::{Gateway, body};

/// 202 with `{executionId}`. The id is minted here, so that asking the next
/// runtime starts nothing twice.
pub async fn rerun(
    State(gateway): State<Gateway>,
    id: PathId<ExecutionId>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let mut fields = Fields::read(&parts, &bytes)?;
    let from = fields.optional::<String>("from", "has to be \"start\"");
    fields.finish()?;
    let request = RerunExecutionRequest {
        execution_id: id.text,
        from: from.unwrap_or_default(),
        new_execution_id: ExecutionId::new().to_string(),
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.rerun_execution(request).await
        })
        .await?;
    let accepted = json!({"executionId": answer.execution_id});
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}
