//! `DELETE /api/triggers/{id}`: takes one webhook away from what is live.

use axum::extract::State;
use http::StatusCode;
use millrace_proto::runtime::v1::UnregisterWebhookRequest;
use millrace_types::TriggerId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;

/// 204; 409 for a trigger that is no webhook.
pub async fn unregister(
    State(gateway): State<Gateway>,
    id: PathId<TriggerId>,
) -> Result<StatusCode, Problem> {
    let request = UnregisterWebhookRequest {
        trigger_id: id.text,
    };
    gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.unregister_webhook(request).await
        })
        .await?;
    gateway.webhooks.clear();
    Ok(StatusCode::NO_CONTENT)
}
