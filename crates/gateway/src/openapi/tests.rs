use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document;

/// Paths whose bodies and answers are their authors', and streams.
fn is_left_out(path: &str) -> bool {
    ["/webhooks/", "/services/"]
        .iter()
        .any(|start| path.starts_with(start))
        || path.ends_with("/stream")
        || !(path.starts_with("/api/") || ["/health", "/livez", "/readyz"].contains(&path))
}

/// The paths that the router names, with their methods.
fn routed() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut routed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let (_, registered) = crate::router::registry().finish();
    for (method, path) in registered {
        if !is_left_out(path) {
            let methods = routed.entry(path).or_default();
            methods.insert(method.to_ascii_lowercase());
        }
    }
    routed
}

#[test]
fn the_document_and_the_router_name_the_same() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect();
    let described: BTreeMap<_, BTreeSet<_>> = paths
        .iter()
        .map(|(path, item)| (path.as_str(), methods(item)))
        .collect();
    assert_eq!(
        described,
        routed(),
        "left: crates/gateway/src/openapi, right: crates/gateway/src/router.rs"
    );
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
