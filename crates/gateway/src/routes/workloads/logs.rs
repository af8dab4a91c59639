//! `GET /api/workloads/{id}/logs?after=&limit=&stream=`

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::orchestrator::v1::GetLogsRequest;
use millrace_types::WorkloadId;

use super::{after_of, stream_of};
use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::{LogEntry, LogPage};

pub async fn logs(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
    uri: Uri,
) -> Result<Json<LogPage>, Problem> {
    let mut query = Query::of(&uri);
    let request = GetLogsRequest {
        workload_id: id.text,
        after: after_of(&mut query)?.unwrap_or_default(),
        limit: query.limit()?,
        stream: stream_of(&mut query)?,
    };
    query.finish(&["after", "limit", "stream"])?;
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.get_logs(request).await
        })
        .await?;
    Ok(Json(LogPage {
        items: answer.entries.into_iter().map(LogEntry::from).collect(),
        next: Some(answer.next).filter(|next| *next > 0),
    }))
}
