//! `POST /api/events`: one event, structured or binary, or a batch of them.

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use millrace_proto::runtime::v1::PublishEventRequest;
use serde::Serialize;
use serde_json::value::RawValue;

use super::binary;
use crate::json::{JsonText, locate, position};
use crate::problem::Problem;
use crate::query::Query;
use crate::runtimes::CallError;
use crate::{Gateway, body};

/// Media types that are taken, beside the binary mode.
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// The executions that listen to what was published.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    execution_ids: Vec<String>,
}

/// 202 once every execution is durable; a repeat of an event gets those of
/// the first time.
pub async fn publish(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<(StatusCode, Json<Published>), Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).finish(&[])?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let (request, posted) = match essence(&parts).as_str() {
        BATCH => {
            let text = checked(bytes)?;
            let batch = batch_of(&text)?;
            let request = PublishEventRequest {
                event_json: String::new(),
                batch_json: batch,
                is_batch: true,
            };
            (request, Some(text))
        }
        STRUCTURED => {
            let text = checked(bytes)?;
            (single(text.clone()), Some(text))
        }
        _ if binary::is(&parts.headers) => (single(binary::event(&parts.headers, bytes)?), None),
        _ => {
            return Err(Problem::media_type(&format!(
                "{STRUCTURED} or {BATCH}, or the event's attributes are `ce-` headers"
            )));
        }
    };
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.publish_event(request).await
        })
        .await
        .map_err(|error| placed(error, posted.as_deref()))?;
    let published = Published {
        execution_ids: answer.execution_ids,
    };
    Ok((StatusCode::ACCEPTED, Json(published)))
}

fn single(event_json: String) -> PublishEventRequest {
    PublishEventRequest {
        event_json,
        batch_json: Vec::new(),
        is_batch: false,
    }
}

/// The media type without its parameters, in lower case.
fn essence(parts: &Parts) -> String {
    let value = parts.headers.get(CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn checked(bytes: bytes::Bytes) -> Result<String, Problem> {
    JsonText::check(bytes)
        .map(|text| text.to_text())
        .map_err(|fault| Problem::findings("The body is not valid JSON.", vec![fault.into()]))
}

fn batch_of(text: &str) -> Result<Vec<String>, Problem> {
    let events: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|_| Problem::invalid("A batch of events is a JSON array."))?;
    Ok(events
        .into_iter()
        .map(|event| event.get().to_owned())
        .collect())
}

/// Puts line and column to what was found in the posted body.
fn placed(error: CallError, posted: Option<&str>) -> CallError {
    match (error, posted) {
        (CallError::Refused(mut failure), Some(posted)) => {
            for finding in &mut failure.findings {
                let place = position(posted, locate(posted, &finding.pointer));
                finding.line = place.line;
                finding.column = place.column;
            }
            CallError::Refused(failure)
        }
        (error, _) => error,
    }
}
