//! `GET /api/triggers/{id}/preview?count=`: the occurrences to come, soonest first.

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::PreviewScheduleRequest;
use millrace_types::TriggerId;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::{Fire, Page};

pub async fn preview(
    State(gateway): State<Gateway>,
    id: PathId<TriggerId>,
    uri: Uri,
) -> Result<Json<Page<Fire>>, Problem> {
    let mut query = Query::of(&uri);
    let request = PreviewScheduleRequest {
        trigger_id: id.text,
        count: query.amount("count")?,
    };
    query.finish(&["count"])?;
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.preview_schedule(request).await
        })
        .await?;
    Page::of(answer.fires, String::new(), |fire| Ok(fire.into())).map(Json)
}
