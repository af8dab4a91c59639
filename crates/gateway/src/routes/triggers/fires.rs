//! `GET /api/triggers/{id}/fires?from=&to=&cursor=&limit=`: the ledger, newest first.

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::ListFiresRequest;
use millrace_types::{Timestamp, TriggerId};

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::{Fire, Page};

pub async fn fires(
    State(gateway): State<Gateway>,
    id: PathId<TriggerId>,
    uri: Uri,
) -> Result<Json<Page<Fire>>, Problem> {
    let mut query = Query::of(&uri);
    let request = ListFiresRequest {
        trigger_id: id.text,
        from: query.parsed::<Timestamp>("from")?,
        to: query.parsed::<Timestamp>("to")?,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["from", "to", "cursor", "limit"])?;
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.list_fires(request).await
        })
        .await?;
    Page::of(answer.fires, answer.next_cursor, |fire| Ok(fire.into())).map(Json)
}
