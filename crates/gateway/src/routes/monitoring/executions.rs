//! `GET /api/monitoring/executions?deploymentId=&status=&trigger=&triggerId=&from=&to=&errorText=&cursor=&limit=`:
//! `{items, next, scanned}`. Like `/api/executions`, and by the text of the
//! error: a page then looks at 5,000 executions at most, `scanned` says at how
//! many, and `next` goes on from there, even when nothing was found.

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::GetExecutionHistoryRequest;
use millrace_types::{DeploymentId, ExecutionStatus, Timestamp, TriggerId, TriggerKind};
use serde::Serialize;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{ExecutionSummary, Page};

/// A page, and how many executions were looked at for it; `null` when no text
/// was looked for.
#[derive(Debug, Serialize)]
pub struct Searched {
    #[serde(flatten)]
    page: Page<ExecutionSummary>,
    scanned: Option<u32>,
}

pub async fn executions(
    State(gateway): State<Gateway>,
    uri: Uri,
) -> Result<Json<Searched>, Problem> {
    let mut query = Query::of(&uri);
    let request = GetExecutionHistoryRequest {
        deployment_id: query.parsed::<DeploymentId>("deploymentId")?,
        status: query.parsed::<ExecutionStatus>("status")?,
        trigger: query.parsed::<TriggerKind>("trigger")?,
        trigger_id: query.parsed::<TriggerId>("triggerId")?,
        from: query.parsed::<Timestamp>("from")?,
        to: query.parsed::<Timestamp>("to")?,
        error_text: query.text("errorText")?.unwrap_or_default(),
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&[
        "deploymentId",
        "status",
        "trigger",
        "triggerId",
        "from",
        "to",
        "errorText",
        "cursor",
        "limit",
    ])?;
    if request.error_text.chars().count() > 200 {
        return Err(Problem::parameter(
            "errorText",
            "`errorText` has at most 200 characters.",
        ));
    }
    let searched = !request.error_text.is_empty();
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.get_execution_history(request).await
        })
        .await?;
    let page = Page::of(
        answer.executions,
        answer.next_cursor,
        ExecutionSummary::try_from,
    )?;
    Ok(Json(Searched {
        page,
        scanned: searched.then_some(answer.scanned),
    }))
}
