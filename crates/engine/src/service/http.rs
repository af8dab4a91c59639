//! From the interpreter's request to the HTTP client, and from the client's
//! answer to what the task asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use url::Url;

use crate::effects::http::{self as effect, HttpBody, HttpCall, HttpCaller};
use crate::interpreter::{FailureKind, HttpAnswer, HttpFailure, HttpRequest};
use crate::language::model::HttpOutput;
use crate::value::{self, Value};

/// Characters of a refusing answer that are told to the author.
const EXCERPT: usize = 300;

pub(super) async fn call(
    caller: &HttpCaller,
    request: HttpRequest,
) -> Result<HttpAnswer, HttpFailure> {
    let url = Url::parse(&request.uri).map_err(|error| HttpFailure {
        kind: FailureKind::Configuration,
        status: None,
        detail: format!("`{}` is not a URL: {error}", request.uri),
    })?;
    let answer = caller
        .call(prepare(&request, url))
        .await
        .map_err(|why| failure(&why))?;
    let success = answer.is_success() || (request.redirect && answer.status < 400);
    if success {
        Ok(HttpAnswer {
            status: answer.status,
            output: output(&request, &answer),
        })
    } else {
        Err(refusal(&request, &answer))
    }
}

fn prepare(request: &HttpRequest, url: Url) -> HttpCall {
    let headers = request.headers.iter();
    HttpCall {
        query: request.query.clone(),
        headers: headers
            .map(|(name, text)| {
                let text = String::from_utf8_lossy(text.as_bytes()).into_owned();
                (name.as_str().to_owned(), text)
            })
            .collect(),
        body: body(request),
        redirect: request.redirect,
        auth: request.auth.clone(),
        ..HttpCall::new(request.method.clone(), url)
    }
}

/// A string goes out as it is, unless a header says that the body is JSON.
fn body(request: &HttpRequest) -> HttpBody {
    let says_json = || {
        let header = request.headers.get(CONTENT_TYPE);
        header.is_some_and(|text| text.to_str().is_ok_and(|text| text.contains("json")))
    };
    match &request.body {
        None => HttpBody::None,
        Some(Value::Str(text)) if !says_json() => HttpBody::Text(text.to_string()),
        Some(body) => HttpBody::Json(body.clone()),
    }
}

fn output(request: &HttpRequest, answer: &effect::HttpAnswer) -> Value {
    match request.output {
        HttpOutput::Content => answer.content(),
        HttpOutput::Raw => value::string(BASE64.encode(&answer.body)),
        HttpOutput::Response => {
            let sent = request
                .headers
                .iter()
                .filter(|(_, text)| !text.is_sensitive());
            let sent = sent.map(|(name, text)| {
                let text = String::from_utf8_lossy(text.as_bytes()).into_owned();
                (name.as_str(), value::string(text))
            });
            let came = answer.headers.iter();
            let came = came.map(|(name, text)| (name.as_str(), value::string(text.as_str())));
            let asked = value::object([
                ("method", value::string(request.method.as_str())),
                ("uri", value::string(request.uri.as_str())),
                ("headers", value::object(sent)),
            ]);
            value::object([
                ("request", asked),
                ("statusCode", answer.status.into()),
                ("headers", value::object(came)),
                ("content", answer.content()),
            ])
        }
    }
}

/// An answer whose status is a failure.
fn refusal(request: &HttpRequest, answer: &effect::HttpAnswer) -> HttpFailure {
    let mut place = answer.url.clone();
    // A query may hold what is not for the history.
    place.set_query(None);
    let status = StatusCode::from_u16(answer.status)
        .map_or_else(|_| answer.status.to_string(), |status| status.to_string());
    let mut detail = format!("{} {place} was answered with {status}", request.method);
    let text = answer.text();
    if !text.trim().is_empty() {
        detail.push_str(": ");
        detail.extend(text.trim().chars().take(EXCERPT));
    }
    HttpFailure {
        kind: FailureKind::Communication,
        status: Some(answer.status),
        detail,
    }
}

/// A call without an answer. The statuses are those that a gateway would give
/// for it, so that a `catch` for 503 holds for a service that is down.
fn failure(failure: &effect::HttpFailure) -> HttpFailure {
    use effect::HttpFailure as F;
    let (kind, status) = match failure {
        F::Invalid(_) => (FailureKind::Configuration, None),
        F::Refused { .. } => (FailureKind::Authorization, None),
        F::Timeout { .. } => (FailureKind::Timeout, None),
        F::Dns { .. } | F::Connect { .. } => (FailureKind::Communication, Some(503)),
        F::Tls { .. } | F::BodyTooLarge { .. } | F::Redirect(_) => {
            (FailureKind::Communication, Some(502))
        }
    };
    HttpFailure {
        kind,
        status,
        detail: failure.to_string(),
    }
}
