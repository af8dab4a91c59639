use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use super::document;
use crate::{Gateway, GatewayConfig};

/// Paths whose bodies and answers are their authors', and streams.
fn is_left_out(path: &str) -> bool {
    ["/webhooks/", "/services/"]
        .iter()
        .any(|start| path.starts_with(start))
        || path.ends_with("/stream")
        || !(path.starts_with("/api/") || ["/health", "/livez", "/readyz"].contains(&path))
}

/// The paths that the router names.
fn routed() -> BTreeSet<&'static str> {
    include_str!("../router.rs")
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| text.starts_with('/') && !is_left_out(text))
        .collect()
}

/// The methods that the router takes at a path; it says so to any other.
async fn methods(path: &str) -> BTreeSet<String> {
    let router = Gateway::new(GatewayConfig::default(), Vec::new(), None).router();
    let request = Request::builder()
        .method(Method::from_bytes(b"PROPFIND").unwrap())
        .uri(path.replace("{id}", "x"))
        .body(Body::empty())
        .unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::METHOD_NOT_ALLOWED,
        "{path} is not routed"
    );
    let allowed = answer.headers()[header::ALLOW].to_str().unwrap();
    allowed
        .split(',')
        .map(|method| method.trim().to_ascii_lowercase())
        .filter(|method| method != "head")
        .collect()
}

#[tokio::test]
async fn the_document_and_the_router_name_the_same() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        described,
        routed(),
        "left: crates/gateway/src/openapi, right: crates/gateway/src/router.rs"
    );
    for (path, item) in paths {
        let described: BTreeSet<_> = item.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            described,
            methods(path).await,
            "{path}: left: the document, right: the router"
        );
    }
}

fn visit<'a>(value: &'a Value, see: &mut impl FnMut(&'a str, &'a Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                see(name, member);
                visit(member, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        _ => {}
    }
}

#[test]
fn what_the_document_refers_to_is_in_it() {
    let document = document();
    let (mut operations, mut linked) = (BTreeSet::new(), BTreeSet::new());
    let mut references = 0;
    visit(&document["paths"], &mut |name, value| match name {
        "operationId" => {
            operations.insert(value.as_str().unwrap());
        }
        "links" => visit(value, &mut |name, value| {
            if name == "operationId" {
                linked.insert(value.as_str().unwrap());
            }
        }),
        _ => {}
    });
    visit(&document, &mut |name, value| {
        if name == "$ref" {
            references += 1;
            let pointer = value.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} is missing");
        }
    });
    assert!(references > 20, "{references}");
    assert!(linked.is_subset(&operations));
}

#[test]
fn every_operation_has_its_own_name_and_the_parameters_of_its_path() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{name} is the name of two operations");
            let none = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&none);
            let of_path = parameters.iter().filter(|p| p["in"] == "path").count();
            assert_eq!(of_path, path.matches('{').count(), "{name}");
        }
    }
}
