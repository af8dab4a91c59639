//! A gateway in two lines, and requests to it.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use millrace_gateway::{Gateway, GatewayConfig};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fake::FakeRuntime;

pub const DEP: &str = "dep_01kh3v4cq0e2h9x5y7z8w6t4s2";
pub const EXE: &str = "exe_01kh3v4cq0e2h9x5y7z8w6t4s2";

pub struct App(pub Router);

impl App {
    pub fn new(runtime: &FakeRuntime) -> Self {
        Self::with(GatewayConfig::default(), &[runtime])
    }

    pub fn with(config: GatewayConfig, runtimes: &[&FakeRuntime]) -> Self {
        let transports = runtimes.iter().map(|runtime| runtime.transport()).collect();
        Self(Gateway::new(config, transports, None).router())
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.send(request(Method::GET, uri).body(Body::empty()).unwrap())
            .await
    }

    /// Posts JSON.
    pub async fn post(&self, uri: &str, body: &str) -> Answer {
        self.post_as("application/json", uri, body).await
    }

    pub async fn post_as(&self, content_type: &str, uri: &str, body: &str) -> Answer {
        let request = request(Method::POST, uri).header("content-type", content_type);
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }
}

pub fn request(method: Method, uri: &str) -> http::request::Builder {
    Request::builder().method(method).uri(uri)
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer as a problem of this status; checks what every one has.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        assert!(problem["errors"].is_array());
        problem
    }

    /// Seconds until it is worth to ask again.
    pub fn retry_after(&self) -> u64 {
        let wait = self.headers["retry-after"].to_str().unwrap();
        wait.parse().unwrap()
    }

    /// The same for a problem with one finding: its pointer, line and column.
    pub fn finding(&self, status: u16) -> (String, u64, u64) {
        let problem = self.problem(status);
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{problem}");
        let number = |name: &str| errors[0][name].as_u64().unwrap_or_default();
        let pointer = errors[0]["pointer"].as_str().unwrap_or("none").to_owned();
        (pointer, number("line"), number("column"))
    }
}
