//! `ANY /webhooks-test/{path…}`: what the webhook of this path would do with
//! the request, without doing it. The sender proves itself as it would there,
//! over the address that it really calls.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use millrace_proto::runtime::v1::{TestWebhookRequest, TestWebhookResponse};
use serde::Serialize;
use serde_json::value::RawValue;

use super::delivery::{Arrived, Delivery};
use super::receive::is_stale;
use super::resolve::resolve;
use super::route::Route;
use crate::Gateway;
use crate::json::JsonText;
use crate::problem::Problem;
use crate::runtimes::CallError;

/// What would be started. Nothing in it is secret: the input is without
/// credentials, and the trigger without its settings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tried<'a> {
    trigger: Trigger<'a>,
    params: &'a RawValue,
    input: Box<RawValue>,
    /// By which a repeat would be known; null when it would not.
    dedupe_key: Option<String>,
    respond: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trigger<'a> {
    id: &'a str,
    r#type: &'static str,
    deployment_id: &'a str,
    path: &'a str,
}

/// 200 with what would be started; what would be refused is refused alike.
pub async fn try_out(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    let delivery = Delivery::read(&gateway, "/webhooks-test/", request).await?;
    let mut cached = true;
    let mut counted = false;
    let mut last_try = false;
    loop {
        let found = resolve(&gateway, &delivery.parts.method, &delivery.path, cached).await?;
        let route = found.route;
        let message = match delivery.judge(&gateway, &route) {
            Err(_) if found.cached => {
                cached = false;
                continue;
            }
            judged => judged?,
        };
        if !counted {
            delivery.count(&gateway, &route, ":test").await?;
            counted = true;
        }
        let arrived = delivery.open(&route).await?;
        match ask(&gateway, &route, &arrived, &message).await {
            Err(error) if !last_try && is_stale(&error) => {
                let method = &delivery.parts.method;
                gateway
                    .webhooks
                    .forget(method, &delivery.path, route.revision);
                last_try = true;
            }
            answer => return shown(&route, &arrived.input, answer?.dedupe_name),
        }
    }
}

/// Has the runtime check what it would check.
async fn ask(
    gateway: &Gateway,
    route: &Route,
    arrived: &Arrived,
    message: &str,
) -> Result<TestWebhookResponse, CallError> {
    let sent = arrived.request.as_ref();
    let request = TestWebhookRequest {
        deployment_id: route.deployment_id.clone(),
        trigger_id: route.trigger_id.clone(),
        trigger_revision: route.revision,
        request_json: sent.map(JsonText::to_text).unwrap_or_default(),
        dedupe_name: message.to_owned(),
        input_json: arrived.input.to_text(),
    };
    gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.test_webhook(request).await
        })
        .await
}

fn shown(route: &Route, input: &JsonText, name: String) -> Result<Response, Problem> {
    let input =
        RawValue::from_string(input.to_text()).map_err(|error| Problem::internal(&error))?;
    let tried = Tried {
        trigger: Trigger {
            id: &route.trigger_id,
            r#type: "webhook",
            deployment_id: &route.deployment_id,
            path: &route.path,
        },
        params: &route.params,
        input,
        dedupe_key: Some(name).filter(|name| !name.is_empty()),
        respond: route.respond.name(),
    };
    Ok(Json(tried).into_response())
}
