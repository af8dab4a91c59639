//! `GET /api/executions?deploymentId=&status=&trigger=&triggerId=&from=&to=&cursor=&limit=`

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::GetExecutionHistoryRequest;
use millrace_types::{DeploymentId, ExecutionStatus, Timestamp, TriggerId, TriggerKind};

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{ExecutionSummary, Page};

pub async fn list(
    State(gateway): State<Gateway>,
    uri: Uri,
) -> Result<Json<Page<ExecutionSummary>>, Problem> {
    let mut query = Query::of(&uri);
    let request = GetExecutionHistoryRequest {
        deployment_id: query.parsed::<DeploymentId>("deploymentId")?,
        status: query.parsed::<ExecutionStatus>("status")?,
        trigger: query.parsed::<TriggerKind>("trigger")?,
        trigger_id: query.parsed::<TriggerId>("triggerId")?,
        from: query.parsed::<Timestamp>("from")?,
        to: query.parsed::<Timestamp>("to")?,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
        error_text: String::new(),
    };
    query.finish(&[
        "deploymentId",
        "status",
        "trigger",
        "triggerId",
        "from",
        "to",
        "cursor",
        "limit",
    ])?;
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.get_execution_history(request).await
        })
        .await?;
    Page::of(
        answer.executions,
        answer.next_cursor,
        ExecutionSummary::try_from,
    )
    .map(Json)
}
