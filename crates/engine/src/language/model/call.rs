//! Calls over HTTP.

use std::sync::Arc;

use super::{Expression, Template};
use crate::language::uri_template::UriTemplate;

/// One HTTP request. Expressions see the task's input.
#[derive(Debug, Clone)]
pub struct CallHttp {
    /// In upper case, such as `GET`.
    pub method: http::Method,
    pub endpoint: Endpoint,
    /// Gives an object of header values.
    pub headers: Option<Template>,
    pub body: Option<Template>,
    /// Gives an object of query parameters.
    pub query: Option<Template>,
    pub output: HttpOutput,
    /// Whether a 3xx answer is a success instead of an error.
    pub redirect: bool,
}

/// What a call is sent to.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub uri: Uri,
    pub authentication: Option<Authentication>,
}

/// An address that is known once the task's input is.
#[derive(Debug, Clone)]
pub enum Uri {
    /// RFC 6570, filled from the top-level scalars of the task's input; one
    /// without variables is a plain address.
    Template(UriTemplate),
    /// Must give a string.
    Expression(Expression),
}

/// What the output of the call is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpOutput {
    /// The body: JSON when it says it is JSON, else text.
    #[default]
    Content,
    /// An object that holds the request, the status, the headers and the body.
    Response,
    /// The bytes of the body in base64.
    Raw,
}

/// How a call shows who it is.
#[derive(Debug, Clone)]
pub enum Authentication {
    Basic(Credentials<Basic>),
    Bearer(Credentials<Bearer>),
}

/// Written out in the document, or one declared secret that holds all of it.
#[derive(Debug, Clone)]
pub enum Credentials<T> {
    Inline(T),
    /// Name of a secret whose value is an object with the same properties.
    Secret(Arc<str>),
}

/// Each gives a string.
#[derive(Debug, Clone)]
pub struct Basic {
    pub username: Template,
    pub password: Template,
}

/// Gives a string.
#[derive(Debug, Clone)]
pub struct Bearer {
    pub token: Template,
}
