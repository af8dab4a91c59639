//! From the interpreter's request to the HTTP client, and back.

use crate::interpreter::{FailureKind, HttpAnswer, HttpFailure, HttpRequest};

#[expect(clippy::unused_async, reason = "the client is not there yet")]
pub(super) async fn call(request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
    Err(HttpFailure {
        kind: FailureKind::Configuration,
        status: None,
        detail: format!("{} cannot be called yet", request.uri),
    })
}
