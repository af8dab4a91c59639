//! `POST /api/deployments/{id}/webhooks`: adds one webhook to what is live.

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use millrace_proto::runtime::v1::RegisterWebhookRequest;
use millrace_types::DeploymentId;

use super::update::place;
use crate::json::JsonText;
use crate::media::Media;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::runtimes::CallError;
use crate::shapes::Trigger;
use crate::{Gateway, body};

/// 201 with the trigger; 200 when exactly this webhook was there already.
pub async fn register_webhook(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
    request: Request,
) -> Result<(StatusCode, Json<Trigger>), Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).finish(&[])?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    if Media::of(&parts.headers) != Media::Json {
        return Err(Problem::media_type("application/json"));
    }
    let spec = JsonText::check(bytes)
        .map_err(|fault| Problem::findings("The body is not valid JSON.", vec![fault.into()]))?
        .to_text();
    let request = RegisterWebhookRequest {
        deployment_id: id.text,
        spec_json: spec.clone(),
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.register_webhook(request).await
        })
        .await
        .map_err(|error| match error {
            CallError::Refused(mut failure) => {
                place(&spec, &mut failure.findings);
                CallError::Refused(failure)
            }
            CallError::Unreachable => error,
        })?;
    // It may be in the way of a wider path.
    gateway.webhooks.clear();
    let status = if answer.changed {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(Trigger::answered(answer.trigger)?)))
}
