//! The answer that a webhook's author makes of an execution's result.

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use millrace_engine::expression::{EvalError, Template, Variables};
use millrace_engine::value::{self, Value};
use millrace_store::ExecutionRecord;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::deployment::settings::escape;

/// The request, as expressions know it besides their input.
const REQUEST: &str = "request";

/// Headers of one answer at most.
const MAX_HEADERS: usize = 32;

/// Longest value of a header in bytes.
const MAX_HEADER: usize = 4096;

/// What belongs to the connection, or is computed.
const NOT_OURS: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How the answer is made; its expressions are compiled.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: Option<Template>,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
}

/// Why there is no answer; the log says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The author's expressions make none of this request.
    Faulty,
    /// Making it was cut off: another delivery may still get one.
    CutOff,
}

/// An answer that has been made. It is kept as JSON, and `null` where none could
/// be made: what is added to it must be optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: MadeBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MadeBody {
    /// The ended execution, as it is shown elsewhere.
    Execution,
    Empty,
    Text(String),
    Json(String),
}

/// Why there is no answer, though there is a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("{0}: {1}")]
    Expression(&'static str, EvalError),
    #[error("the status is {0}, not an integer from 200 to 599")]
    Status(String),
    #[error("the header `{0}` is not a text that a header can hold")]
    Header(HeaderName),
    #[error("what the execution left cannot be read: {0}")]
    Stored(#[from] value::InvalidJson),
}

impl Answer {
    /// Reads `{status, headers, body}`; all faults, each with its pointer.
    pub fn read(members: &Map<String, serde_json::Value>) -> Result<Self, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let mut part = |name: &str| {
            let given = members.get(name)?;
            compile(given, &format!("/{name}"), &mut faults)
        };
        let status = part("status");
        let body = part("body");
        if let Some(literal) = status.as_ref().and_then(Template::literal)
            && let Err(why) = status_of(literal)
        {
            faults.push(("/status".into(), why.to_string()));
        }
        let headers = match members.get("headers") {
            None => Vec::new(),
            Some(serde_json::Value::Object(given)) if given.len() <= MAX_HEADERS => given
                .iter()
                .filter_map(|(name, value)| header(name, value, &mut faults))
                .collect(),
            Some(_) => {
                let why = format!("must be an object of at most {MAX_HEADERS} headers");
                faults.push(("/headers".into(), why));
                Vec::new()
            }
        };
        if faults.is_empty() {
            Ok(Self {
                status,
                headers,
                body,
            })
        } else {
            Err(faults)
        }
    }

    /// Whether it depends on the request, and so on which of several
    /// deliveries of one message it is made for.
    pub fn sees_request(&self) -> bool {
        let headers = self.headers.iter().map(|(_, template)| template);
        let parts = self.status.iter().chain(&self.body).chain(headers);
        parts.into_iter().any(|template| template.uses(REQUEST))
    }

    /// The answer for an execution that has ended. Its expressions see
    /// `{id, status, input, output, error}`, and the request as `$request`.
    pub fn make(&self, ended: &ExecutionRecord, request: Value) -> Result<Made, AnswerError> {
        let input = view(ended)?;
        let variables = Variables::default().with(REQUEST, request);
        let eval = |part: &'static str, template: &Template| {
            template
                .eval(&input, &variables)
                .map_err(|why| AnswerError::Expression(part, why))
        };
        let status = match &self.status {
            Some(template) => status_of(&eval("status", template)?)?,
            None => 200,
        };
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            // A header whose value is null is left out.
            if let Some(text) = header_text(name, &eval("headers", template)?)? {
                headers.push((name.as_str().to_owned(), text));
            }
        }
        let body = match &self.body {
            None => MadeBody::Execution,
            Some(template) => match eval("body", template)? {
                Value::Null => MadeBody::Empty,
                Value::Str(text) => MadeBody::Text(text.as_str().to_owned()),
                other => MadeBody::Json(value::to_json(&other)),
            },
        };
        Ok(Made {
            status,
            headers,
            body,
        })
    }
}

fn view(ended: &ExecutionRecord) -> Result<Value, AnswerError> {
    let read = |json: Option<&bytes::Bytes>| match json {
        Some(json) => value::from_json(json),
        None => Ok(Value::Null),
    };
    Ok(value::object([
        ("id", value::string(ended.id.to_string())),
        ("status", value::string(ended.status.to_string())),
        ("input", read(Some(&ended.input))?),
        ("output", read(ended.output.as_ref())?),
        ("error", read(ended.error.as_ref())?),
    ]))
}

fn compile(
    given: &serde_json::Value,
    at: &str,
    faults: &mut Vec<(String, String)>,
) -> Option<Template> {
    let template = match Template::compile(given, &[REQUEST]) {
        Ok(template) => template,
        Err(errors) => {
            let errors = errors.into_iter();
            faults.extend(errors.map(|(pointer, why)| (format!("{at}{pointer}"), why.message)));
            return None;
        }
    };
    if let Some(name) = foreign(|name| template.uses(name)) {
        let why = format!("`${name}` is known within workflows only; here there is `$request`");
        faults.push((at.to_owned(), why));
        return None;
    }
    Some(template)
}

/// The first of the workflow's variables that is used.
pub(crate) fn foreign(uses: impl Fn(&str) -> bool) -> Option<&'static str> {
    Variables::GLOBAL.into_iter().find(|name| uses(name))
}

fn header(
    name: &str,
    value: &serde_json::Value,
    faults: &mut Vec<(String, String)>,
) -> Option<(HeaderName, Template)> {
    let at = format!("/headers/{}", escape(name));
    let Ok(parsed) = name.parse::<HeaderName>() else {
        faults.push((at, format!("`{name}` is not the name of a header")));
        return None;
    };
    if NOT_OURS.contains(&parsed) {
        faults.push((at, format!("`{name}` is set by the server")));
        return None;
    }
    let template = compile(value, &at, faults)?;
    if let Some(literal) = template.literal()
        && let Err(why) = header_text(&parsed, literal)
    {
        faults.push((at, why.to_string()));
        return None;
    }
    Some((parsed, template))
}

fn status_of(value: &Value) -> Result<u16, AnswerError> {
    value
        .as_i64()
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| AnswerError::Status(short(value)))
}

fn header_text(name: &HeaderName, value: &Value) -> Result<Option<String>, AnswerError> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::Str(text) => text.as_str().to_owned(),
        Value::Bool(_) | Value::Num(_) => value::to_json(value),
        Value::Arr(_) | Value::Obj(_) => return Err(AnswerError::Header(name.clone())),
    };
    if text.len() <= MAX_HEADER && HeaderValue::from_str(&text).is_ok() {
        Ok(Some(text))
    } else {
        Err(AnswerError::Header(name.clone()))
    }
}

fn short(value: &Value) -> String {
    value::to_json(value).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use millrace_types::{
        DeploymentId, ExecutionId, ExecutionStatus, Timestamp, TriggerKind, WorkflowId,
    };
    use serde_json::json;

    fn ended(status: ExecutionStatus, output: &'static str) -> ExecutionRecord {
        ExecutionRecord {
            id: ExecutionId::new(),
            deployment_id: DeploymentId::new(),
            workflow_id: WorkflowId::new(),
            version: 1,
            status,
            trigger_kind: TriggerKind::Webhook,
            trigger_id: None,
            input: Bytes::from_static(b"{\"n\":1}"),
            output: Some(Bytes::from_static(output.as_bytes())),
            error: None,
            created_at: Timestamp::now(),
            started_at: None,
            ended_at: None,
            rerun_of: None,
        }
    }

    fn made(respond: &serde_json::Value, output: &'static str) -> Result<Made, AnswerError> {
        let answer = Answer::read(respond.as_object().unwrap()).unwrap();
        let request = value::from_json(br#"{"query":{"q":"x"}}"#).unwrap();
        answer.make(&ended(ExecutionStatus::Succeeded, output), request)
    }

    #[test]
    fn expressions_see_the_result_and_the_request() {
        let respond = json!({
            "status": "${ if .status == \"SUCCEEDED\" then 201 else 502 end }",
            "headers": {"X-Order": "${ .output.id }", "X-None": "${ .error }", "X-Q": "${ $request.query.q }"},
            "body": {"order": "${ .output }", "n": "${ .input.n }"},
        });
        let made = made(&respond, r#"{"id":12345678901234567890}"#).unwrap();
        assert_eq!(made.status, 201);
        let headers: Vec<_> = made.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(headers, [("x-order", "12345678901234567890"), ("x-q", "x")]);
        let body = r#"{"order":{"id":12345678901234567890},"n":1}"#;
        assert_eq!(made.body, MadeBody::Json(body.into()));
    }

    #[test]
    fn a_body_is_text_json_nothing_or_the_execution() {
        for (respond, body) in [
            (json!({}), MadeBody::Execution),
            (json!({"body": null}), MadeBody::Empty),
            (json!({"body": "ok"}), MadeBody::Text("ok".into())),
            (
                json!({"body": "${ .output }"}),
                MadeBody::Json("[1]".into()),
            ),
        ] {
            let made = made(&respond, "[1]").unwrap();
            assert_eq!((made.status, made.body), (200, body), "{respond}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for respond in [
            json!({"status": "${ .output }"}),
            json!({"headers": {"x": "${ .output }"}}),
            json!({"headers": {"x": "${ \"a\\nb\" }"}}),
            json!({"body": "${ error(\"no\") }"}),
            json!({"body": "${ def f: f; f }"}),
        ] {
            assert!(made(&respond, "[1]").is_err(), "{respond}");
        }
    }
}
