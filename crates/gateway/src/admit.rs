//! Starting an execution, by hand or by webhook: asked of the runtimes until
//! one has it on disk, always under the same id.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use millrace_proto::runtime::v1::{
    self as pb, TriggerWorkflowRequest, TriggerWorkflowResponse, WebhookAnswer, webhook_answer,
};
use millrace_types::ExecutionId;
use tonic::Status;

use crate::Gateway;
use crate::json::JsonText;
use crate::problem::Problem;
use crate::runtimes::CallError;
use crate::shapes::Execution;

/// Header that makes a repeated request the same request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One execution that is to be started.
#[derive(Debug)]
pub struct Admission<'a> {
    pub execution_id: ExecutionId,
    pub deployment_id: &'a str,
    /// Id and revision of the trigger; none for a start by hand.
    pub trigger: Option<(&'a str, u64)>,
    /// Empty for none.
    pub dedupe_key: &'a str,
    /// The whole delivery, for a webhook with expressions over it.
    pub request: Option<&'a JsonText>,
    /// How long to wait for the execution's end.
    pub wait: Duration,
}

/// What the runtime said.
#[derive(Debug)]
pub struct Admitted(TriggerWorkflowResponse);

impl Admission<'_> {
    /// Returns once the execution is durable, and has ended or `wait` is over.
    /// When the gateway stops meanwhile, it answers what is known by then.
    pub async fn admit(&self, gateway: &Gateway, input: &JsonText) -> Result<Admitted, CallError> {
        if !self.wait.is_zero() {
            let answer = tokio::select! {
                biased;
                () = gateway.config.stop.cancelled() => None,
                answer = self.ask(gateway, input, self.wait) => Some(answer),
            };
            if let Some(answer) = answer {
                return answer;
            }
        }
        // The execution has its id, so that asking again starts nothing else.
        self.ask(gateway, input, Duration::ZERO).await
    }

    /// Asks the runtimes, and goes on waiting at another one when the one
    /// that was asked stops.
    async fn ask(
        &self,
        gateway: &Gateway,
        input: &JsonText,
        wait: Duration,
    ) -> Result<Admitted, CallError> {
        let execution_id = self.execution_id.to_string();
        let (trigger_id, trigger_revision) = self.trigger.unwrap_or(("", 0));
        let cut_short = Mutex::new(None);
        let answer = gateway
            .runtimes
            .call_waiting(wait, |mut client, left| {
                let request = TriggerWorkflowRequest {
                    execution_id: execution_id.clone(),
                    deployment_id: self.deployment_id.to_owned(),
                    trigger_id: trigger_id.to_owned(),
                    trigger_revision,
                    trigger_data_json: input.to_text(),
                    dedupe_key: self.dedupe_key.to_owned(),
                    request_json: self.request.map(JsonText::to_text).unwrap_or_default(),
                    wait_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
                };
                let cut_short = &cut_short;
                async move {
                    let answer = client.trigger_workflow(request).await?;
                    if !answer.get_ref().stopping {
                        return Ok(answer);
                    }
                    *cut_short.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(answer.into_inner());
                    Err(Status::unavailable(
                        "it stops; the next one goes on waiting",
                    ))
                }
            })
            .await;
        match answer {
            // Nobody is left to wait at, but it is durable.
            Err(CallError::Unreachable) => cut_short
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .ok_or(CallError::Unreachable),
            answer => answer,
        }
        .map(Admitted)
    }
}

/// Marks the answer to a request that was known before.
#[derive(Debug, Clone, Copy)]
pub struct Duplicate;

impl Admitted {
    /// 200 with the ended execution, what the webhook makes of it, or 202.
    pub fn into_response(self) -> Result<Response, Problem> {
        let duplicate = self.0.duplicate;
        let mut response = self.answer()?;
        if duplicate {
            response.extensions_mut().insert(Duplicate);
        }
        Ok(response)
    }

    fn answer(self) -> Result<Response, Problem> {
        if self.0.answer_failed {
            return Err(Problem::answer_failed(&self.0.execution_id));
        }
        if let Some(answer) = self.0.answer {
            return mapped(answer, self.0.execution);
        }
        if let Some(execution) = self.0.execution {
            return Ok(Json(Execution::try_from(execution)?).into_response());
        }
        // Neither needs escaping: an id and a status are plain words.
        let text = format!(
            "{{\"executionId\":\"{}\",\"status\":\"{}\"}}",
            self.0.execution_id, self.0.status
        );
        let json = [(CONTENT_TYPE, "application/json")];
        Ok((StatusCode::ACCEPTED, json, text).into_response())
    }
}

/// The answer as the webhook's author makes it. A type that its headers name
/// goes before that of the body.
fn mapped(answer: WebhookAnswer, execution: Option<pb::Execution>) -> Result<Response, Problem> {
    let status = u16::try_from(answer.status).map_err(|error| Problem::internal(&error))?;
    let mut response = match answer.body {
        None => ().into_response(),
        Some(webhook_answer::Body::Text(text)) => text.into_response(),
        Some(webhook_answer::Body::Json(json)) => {
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Some(webhook_answer::Body::Execution(_)) => {
            Json(Execution::answered(execution)?).into_response()
        }
    };
    *response.status_mut() =
        StatusCode::from_u16(status).map_err(|error| Problem::internal(&error))?;
    for header in answer.headers {
        let name = header.name.parse::<HeaderName>();
        let name = name.map_err(|error| Problem::internal(&error))?;
        let value = header.value.parse::<HeaderValue>();
        let value = value.map_err(|error| Problem::internal(&error))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// The `Idempotency-Key`; empty when there is none.
pub fn dedupe_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok("");
    };
    let printable = value
        .as_bytes()
        .iter()
        .all(|byte| (0x20..0x7f).contains(byte));
    match value.to_str() {
        Ok(key) if printable && (1..=255).contains(&key.len()) && values.next().is_none() => {
            Ok(key)
        }
        _ => Err(Problem::parameter(
            "Idempotency-Key",
            "`Idempotency-Key` has to be given once, with 1 to 255 printable ASCII characters.",
        )),
    }
}
