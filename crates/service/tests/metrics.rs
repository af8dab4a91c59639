//! What a process records, as it is shown.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::routing::get;
use axum::{Router, middleware};
use http::Request;
use millrace_service::metrics;
use tower::ServiceExt as _;

async fn ask(router: &Router, method: &str, path: &str) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(axum::body::Body::empty())
        .unwrap();
    router.clone().oneshot(request).await.unwrap();
}

// The one test of this file: a process has one recorder.
#[tokio::test]
async fn requests_are_counted_by_template_and_nothing_from_outside_becomes_a_label() {
    metrics::install("gateway", "1.2.3");
    let router = Router::new()
        .route("/things/{id}", get(|| async { "ok" }))
        .layer(middleware::from_fn(metrics::record_request));
    for id in 0..3 {
        ask(&router, "GET", &format!("/things/{id}")).await;
    }
    ask(&router, "BREW", "/things/7").await;
    ask(&router, "GET", "/no/such/path").await;
    let text = metrics::text();
    for line in [
        r#"millrace_http_requests_total{route="/things/{id}",method="GET",status="2xx"} 3"#,
        r#"millrace_http_requests_total{route="/things/{id}",method="other",status="4xx"} 1"#,
        r#"millrace_http_requests_total{route="unmatched",method="GET",status="4xx"} 1"#,
        r#"millrace_http_request_duration_seconds_count{route="/things/{id}",method="GET"} 3"#,
        "# TYPE millrace_http_request_duration_seconds histogram",
        "# TYPE process_cpu_seconds_total counter",
        "millrace_http_requests_active 0",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert!(
        !text.contains("/things/7") && !text.contains("BREW"),
        "{text}"
    );

    // A page that cannot be made is an error, and no page without figures.
    let panicked = AtomicBool::new(false);
    metrics::add_section(move || {
        assert!(panicked.swap(true, Ordering::SeqCst), "it cannot be made");
        None
    });
    assert_eq!(metrics::page().await.status(), 500);
    assert_eq!(metrics::page().await.status(), 200);
}
