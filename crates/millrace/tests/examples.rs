//! The examples that have no test file of their own, as they lie there.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Millrace, answer, client};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(path)
}

/// A file of an example, with the address of the gateway that runs here.
fn text(path: &str, millrace: &Millrace) -> String {
    let text = std::fs::read_to_string(example(path)).unwrap();
    text.replace("127.0.0.1:8080", &millrace.address("http"))
}

async fn deploy(millrace: &Millrace, workflow: &str, triggers: &Value) -> Value {
    let body = json!({"workflow": text(workflow, millrace), "triggers": triggers});
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    deployment
}

#[tokio::test]
async fn the_nightly_report_is_due_at_two_in_berlin_and_counts_failures() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let failing = "document: {dsl: 1.0.3, namespace: test, name: fails, version: 1.0.0}\n\
                   do:\n- stop: {raise: {error: {type: 'https://example.com/x', status: 500}}}\n";
    let failing = millrace.deploy(failing, "fails").await;
    let id = millrace.fire("fails", &json!({})).await;
    millrace.until(&id, &["FAILED"]).await;

    let triggers = text("nightly-report/triggers.json", &millrace);
    let triggers: Value = serde_json::from_str(&triggers).unwrap();
    let report = deploy(&millrace, "nightly-report/workflow.yaml", &triggers).await;
    let trigger = report["triggers"][0]["id"].as_str().unwrap();
    // In winter and in summer: a year has both.
    let path = format!("/api/triggers/{trigger}/preview?count=400");
    let (status, nights) = millrace.get(&path).await;
    assert_eq!(status, 200, "{nights:#}");
    let nights = nights["items"].as_array().unwrap();
    for night in nights {
        let nominal: jiff::Timestamp = night["nominalAt"].as_str().unwrap().parse().unwrap();
        let effective: jiff::Timestamp = night["effectiveAt"].as_str().unwrap().parse().unwrap();
        let there = nominal.in_tz("Europe/Berlin").unwrap();
        // In the night in which there is no two o'clock, it is the next time there is.
        let hour = if there.month() == 3 && there.hour() == 3 {
            3
        } else {
            2
        };
        assert_eq!((there.hour(), there.minute()), (hour, 0), "{there}");
        let offset = effective.duration_since(nominal).as_secs();
        assert!((0..15 * 60).contains(&offset), "{night}");
    }

    let id = report["id"].as_str().unwrap();
    let path = format!("/api/deployments/{id}/trigger?wait=30s");
    let (status, ended) = millrace.post(&path, &json!({})).await;
    assert_eq!(status, 200, "{ended:#}");
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    assert_eq!(ended["output"]["failed"], 1, "{ended:#}");
    let of = failing["id"].as_str().unwrap();
    assert_eq!(ended["output"]["byDeployment"][of], 1, "{ended:#}");
    millrace.terminate().await;
}

#[tokio::test]
async fn only_what_github_has_signed_starts_the_workflow_and_only_once() {
    const SECRET: &str = "it is nobody's business";
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let trigger = json!({"type": "webhook", "path": "github", "input": "request",
        "auth": {"scheme": "github", "secret": SECRET}, "respond": "result"});
    deploy(&millrace, "github-webhook/workflow.yaml", &json!([trigger])).await;
    let push =
        json!({"repository": {"full_name": "me/shop"}, "pusher": {"name": "ada"}, "commits": [{}]});
    let body = push.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    let digest = digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let send = |signature: String| {
        let request = client().post(millrace.url("/webhooks/github"));
        let request = request
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-delivery", "one")
            .header("x-hub-signature-256", format!("sha256={signature}"));
        answer(request.body(body.clone()))
    };
    let (status, refused) = send("0".repeat(64)).await;
    assert_eq!(status, 401, "{refused:#}");
    let (status, first) = send(digest.clone()).await;
    assert_eq!(status, 200, "{first:#}");
    assert_eq!(first["output"]["text"], "ada pushed 1 commits to me/shop");
    let (_, again) = send(digest).await;
    assert_eq!(again["id"], first["id"], "{again:#}");
    millrace.terminate().await;
}

#[tokio::test]
async fn a_workflow_reserves_at_its_service_as_long_as_there_is_enough() {
    let data = tempfile::tempdir().unwrap();
    // Ports of its own: other tests run beside this one.
    let ports = millrace_testkit::port_pool(20);
    let settings = [("MILLRACE_ORCHESTRATOR__PORTS", ports.as_str())];
    let millrace = Millrace::dev_with(data.path(), &settings).await;
    let folder = example("call-a-service").canonicalize().unwrap();
    let project = json!({"name": "Stock", "key": "STOCK", "localPath": folder});
    let (status, project) = millrace.post("/api/projects", &project).await;
    assert_eq!(status, 201, "{project:#}");
    let path = format!(
        "/api/projects/{}/start?wait=60s",
        project["id"].as_str().unwrap()
    );
    let (status, started) = millrace.post(&path, &json!({})).await;
    assert_eq!(status, 200, "{started:#}");

    let deployment = deploy(&millrace, "call-a-service/workflow.yaml", &json!([])).await;
    let path = format!(
        "/api/deployments/{}/trigger?wait=30s",
        deployment["id"].as_str().unwrap()
    );
    for (quantity, wanted) in [
        (3, json!({"reserved": true, "left": 7})),
        (8, json!({"reserved": false})),
        (7, json!({"reserved": true, "left": 0})),
    ] {
        let order = json!({"sku": "pen", "quantity": quantity});
        let (status, ended) = millrace.post(&path, &order).await;
        assert_eq!(status, 200, "{ended:#}");
        assert_eq!(ended["output"], wanted, "{ended:#}");
    }
    let (_, execution) = millrace
        .post(&path, &json!({"sku": "pen", "quantity": 0}))
        .await;
    assert_eq!(execution["status"], "FAILED", "{execution:#}");
    millrace.terminate().await;
}
