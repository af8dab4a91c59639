//! `GET /api/workloads?projectId=&cursor=&limit=`

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::orchestrator::v1::ListWorkloadsRequest;
use millrace_types::ProjectId;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{Page, WorkloadStatus};

pub async fn list(
    State(gateway): State<Gateway>,
    uri: Uri,
) -> Result<Json<Page<WorkloadStatus>>, Problem> {
    let mut query = Query::of(&uri);
    let request = ListWorkloadsRequest {
        project_id: query.parsed::<ProjectId>("projectId")?,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["projectId", "cursor", "limit"])?;
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.list_workloads(request).await
        })
        .await?;
    Page::of(answer.workloads, answer.next_cursor, |workload| {
        Ok(WorkloadStatus::from(workload))
    })
    .map(Json)
}
