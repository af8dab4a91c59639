//! `GET /api/executions/{id}/history?cursor=&limit=`: what happened, oldest first.

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::ListExecutionEventsRequest;
use millrace_types::ExecutionId;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::{HistoryItem, Page};

pub async fn history(
    State(gateway): State<Gateway>,
    id: PathId<ExecutionId>,
    uri: Uri,
) -> Result<Json<Page<HistoryItem>>, Problem> {
    let mut query = Query::of(&uri);
    let request = ListExecutionEventsRequest {
        execution_id: id.text,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["cursor", "limit"])?;
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.list_execution_events(request).await
        })
        .await?;
    Page::of(answer.events, answer.next_cursor, HistoryItem::try_from).map(Json)
}
