//! `GET /api/deployments/{id}/versions?cursor=&limit=`: newest first.

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::ListVersionsRequest;
use millrace_types::DeploymentId;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::{Page, Version};

pub async fn versions(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
    uri: Uri,
) -> Result<Json<Page<Version>>, Problem> {
    let mut query = Query::of(&uri);
    let request = ListVersionsRequest {
        deployment_id: id.text,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["cursor", "limit"])?;
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.list_versions(request).await
        })
        .await?;
    Page::of(answer.versions, answer.next_cursor, |version| {
        Ok(Version::from(version))
    })
    .map(Json)
}
