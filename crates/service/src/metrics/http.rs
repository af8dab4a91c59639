//! Requests to an HTTP router, by the template of their route.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

const REQUESTS: &str = "millrace_http_requests_total";
const DURATION: &str = "millrace_http_request_duration_seconds";
const ACTIVE: &str = "millrace_http_requests_active";

pub(super) fn describe() {
    describe_counter!(
        REQUESTS,
        "HTTP requests, by template of the route, method and class of the status."
    );
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time until the answer begins, by template of the route and method."
    );
    describe_gauge!(ACTIVE, "HTTP requests whose answer has not begun.");
}

/// Counts down even when the caller hangs up.
struct Active;

impl Active {
    fn begin() -> Self {
        gauge!(ACTIVE).increment(1.0);
        Self
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        gauge!(ACTIVE).decrement(1.0);
    }
}

/// For `axum::middleware::from_fn`, as a layer of the whole router. What
/// matches no route is `unmatched`: its path comes from outside.
pub async fn record_request(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let active = Active::begin();
    let response = next.run(request).await;
    drop(active);
    let route = route.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let status = class(response.status());
    histogram!(DURATION, "route" => route.clone(), "method" => method)
        .record(begun.elapsed().as_secs_f64());
    counter!(REQUESTS, "route" => route, "method" => method, "status" => status).increment(1);
    response
}

/// Methods are texts from outside, too.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class(status: http::StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
