//! `POST /api/triggers/{id}/backfill` with `{"from", "to"}`: starts what did not
//! run of a range of the past.

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use millrace_proto::runtime::v1::BackfillScheduleRequest;
use millrace_types::TriggerId;
use serde::Serialize;

use crate::fields::Fields;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::{Gateway, body};

/// A backfill that has begun.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    trigger_id: String,
    from: String,
    to: String,
    /// Occurrences in the range, those that ran included.
    occurrences: u64,
}

pub async fn backfill(
    State(gateway): State<Gateway>,
    id: PathId<TriggerId>,
    request: Request,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let mut fields = Fields::read(&parts, &bytes)?;
    let time = "has to be a time such as \"2026-12-01T09:00:00Z\"";
    let from = fields.required::<String>("from", time);
    let to = fields.required::<String>("to", time);
    fields.finish()?;
    let request = BackfillScheduleRequest {
        trigger_id: id.text,
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
    };
    let answer = gateway
        .runtimes
        .send(request.clone(), |mut client, request| async move {
            client.backfill_schedule(request).await
        })
        .await?;
    let begun = Begun {
        trigger_id: request.trigger_id,
        from: request.from,
        to: request.to,
        occurrences: answer.occurrences,
    };
    Ok((StatusCode::ACCEPTED, Json(begun)))
}
