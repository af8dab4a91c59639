//! What the service answers, held against what it says that it answers:
//! schemathesis asks the prepared example for everything that
//! `/api/openapi.json` describes. Streams, `/services/…` and `/webhooks/…`
//! are not in it.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Millrace, PATIENCE, Service};
use tokio::process::Command;

/// Every finding of these fails the test. What else it could check (such as
/// whether all that the document allows is accepted) is a matter of taste.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where schemathesis is; fetched if it is not there yet.
async fn packages() -> PathBuf {
    let output = Command::new(root().join("scripts/tool"))
        .args(["python", "scripts/openapi/requirements.txt"])
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("scripts/tool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The example, deployed with a schedule, with one execution that succeeded.
async fn prepared(data: &Path, pricing: &Service) -> Millrace {
    let millrace = Millrace::dev(data).await;
    let document = include_str!("../../../examples/order-intake/workflow.yaml")
        .replace("http://127.0.0.1:8090", &pricing.url);
    let body = json!({
        "workflow": document,
        "triggers": [
            {"type": "webhook", "path": "orders"},
            {"type": "cron", "cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        ],
    });
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let order = json!({
        "orderId": "A-1", "customer": "Ada",
        "items": [{"sku": "pen", "quantity": 3, "unitPrice": 2.5}],
    });
    let id = millrace.fire("orders", &order).await;
    millrace.until(&id, &["SUCCEEDED"]).await;
    millrace
}

/// `MILLRACE_OPENAPI=thorough` (`make test-openapi`) takes minutes: bodies and
/// parameters by chance, and calls that follow from answers. Without it, the
/// document's examples and the edges of its schemas are tried.
fn effort() -> &'static [&'static str] {
    match std::env::var("MILLRACE_OPENAPI").as_deref() {
        Ok("thorough") => &[
            "--max-examples",
            "30",
            "--max-time",
            "300",
            "--generation-database",
            "none",
        ],
        _ => &[
            "--phases",
            "examples,coverage",
            "--generation-deterministic",
            "--max-time",
            "60",
        ],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_that_the_document_does_not_say() {
    let packages = packages().await;
    let pricing = Service::start(millrace_example_pricing::app()).await;
    let data = tempfile::tempdir().unwrap();
    let millrace = prepared(data.path(), &pricing).await;

    let output = Command::new("python3")
        .args(["-m", "schemathesis.cli", "run"])
        .arg(millrace.url("/api/openapi.json"))
        .args(["--checks", CHECKS, "--no-color", "--continue-on-failure"])
        .args(["--request-timeout", "60"])
        .args(effort())
        .env("PYTHONPATH", packages)
        .current_dir(data.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    // It has asked: an empty document would pass all of this.
    assert!(said.contains("Test cases:"), "{said}");
    println!("{said}");
}

#[tokio::test]
async fn the_examples_of_the_document_are_taken() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let (_, document) = millrace.get("/api/openapi.json").await;
    let example = |path: &str, method: &str, media: &str| -> Value {
        let body = &document["paths"][path][method]["requestBody"];
        body["content"][media]["example"].clone()
    };
    let bundle = example("/api/deployments", "post", "application/json");
    let (status, deployment) = millrace.post("/api/deployments", &bundle).await;
    assert_eq!(status, 201, "{deployment:#}");
    let yaml = example("/api/deployments", "post", "application/yaml");
    let yaml = yaml.as_str().unwrap().to_owned();
    let path = "/api/deployments";
    let (status, deployment) = millrace.post_text(path, "application/yaml", yaml).await;
    assert!(matches!(status, 200 | 201), "{deployment:#}");

    let of_deployment = format!("/api/deployments/{}", deployment["id"].as_str().unwrap());
    for (verb, expected) in [("trigger", 202), ("rollback", 200)] {
        let described = format!("/api/deployments/{{id}}/{verb}");
        let body = example(&described, "post", "application/json");
        let path = format!("{of_deployment}/{verb}");
        let (status, answer) = millrace.post(&path, &body).await;
        assert_eq!(status, expected, "{answer:#}");
    }
    let (_, page) = millrace.get("/api/executions").await;
    let id = page["items"][0]["id"].as_str().unwrap().to_owned();
    millrace.until(&id, &["SUCCEEDED"]).await;
    let body = example("/api/executions/{id}/rerun", "post", "application/json");
    let (status, answer) = millrace
        .post(&format!("/api/executions/{id}/rerun"), &body)
        .await;
    assert_eq!(status, 202, "{answer:#}");

    let patch = example(
        "/api/deployments/{id}",
        "patch",
        "application/merge-patch+json",
    );
    let request = support::client()
        .patch(millrace.url(&of_deployment))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string())
        .timeout(PATIENCE);
    let (status, answer) = support::answer(request).await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["config"]["labels"]["team"], "orders");
}
