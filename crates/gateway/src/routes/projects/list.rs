//! `GET /api/projects?cursor=&limit=`

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::orchestrator::v1::ListProjectsRequest;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{Page, Project};

pub async fn list(
    State(gateway): State<Gateway>,
    uri: Uri,
) -> Result<Json<Page<Project>>, Problem> {
    let mut query = Query::of(&uri);
    let request = ListProjectsRequest {
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["cursor", "limit"])?;
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.list_projects(request).await
        })
        .await?;
    Page::of(answer.projects, answer.next_cursor, Project::try_from).map(Json)
}
