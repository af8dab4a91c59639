//! What the interpreter asks the outside for, and what it hears back. Plain
//! data: who carries it out is not known here.

use crate::effects::http::HttpAuth;
use crate::language::model::HttpOutput;
use crate::value::Value;

/// A call over HTTP, with everything evaluated.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    pub method: http::Method,
    /// As the document gives it, without `query`.
    pub uri: String,
    /// To be added to the query of `uri`.
    pub query: Vec<(String, String)>,
    /// The document's, and the ones that tell the visit and its owner.
    pub headers: http::HeaderMap,
    /// Of the document's endpoint; never to be shown.
    pub auth: Option<HttpAuth>,
    pub body: Option<Value>,
    pub output: HttpOutput,
    /// Whether a 3xx answer is a success instead of an error.
    pub redirect: bool,
}

/// An answer that counts as a success.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    pub status: u16,
    /// In the form that the request's `output` asked for.
    pub output: Value,
}

/// What kind of error a call that did not succeed raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Not reached, or answered with a failure.
    Communication,
    /// It cannot be called like this.
    Configuration,
    /// It is not allowed.
    Authorization,
    /// No answer in time.
    Timeout,
}

/// A call that did not succeed.
#[derive(Debug, Clone)]
pub struct HttpFailure {
    pub kind: FailureKind,
    /// Status of the answer, where there was one.
    pub status: Option<u16>,
    /// For the author.
    pub detail: String,
}
