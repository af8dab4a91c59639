//! An engine in another language: `examples/python-engine`, as it is.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, command};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where its packages are; fetched if they are not there yet.
async fn packages() -> PathBuf {
    let output = Command::new(root().join("scripts/tool"))
        .args(["python", "examples/python-engine/requirements.txt"])
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("scripts/tool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

struct PythonEngine {
    address: String,
    child: Child,
}

impl PythonEngine {
    async fn start(packages: &Path) -> Self {
        let mut child = Command::new("python3")
            .arg(root().join("examples/python-engine/engine.py"))
            .arg("127.0.0.1:0")
            .env("PYTHONPATH", packages)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 is installed");
        let stdout = child.stdout.take().expect("piped");
        let line = tokio::time::timeout(PATIENCE, BufReader::new(stdout).lines().next_line())
            .await
            .expect("ready in time")
            .expect("readable")
            .expect("it says where it listens");
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self {
            address: ready["engine"].as_str().unwrap().to_owned(),
            child,
        }
    }
}

#[tokio::test]
async fn a_minimal_engine_in_python_runs_workflows() {
    let mut engine = PythonEngine::start(&packages().await).await;
    let data = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/m.db", data.path().display());
    let settings = [
        ("DATABASE_URL", database.as_str()),
        ("MILLRACE_RUNTIME__ENGINE", engine.address.as_str()),
    ];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success());
    let listen = ["--ready-json", "--listen", "127.0.0.1:0"];
    let runtime = Millrace::start(&[&["runtime"], &listen[..]].concat(), &settings).await;
    let runtimes = runtime.address("runtime");
    let settings = [
        ("MILLRACE_GATEWAY__RUNTIME", runtimes.as_str()),
        ("MILLRACE_GATEWAY__STOP_DELAY", "1ms"),
    ];
    let gateway = Millrace::start(&[&["gateway"], &listen[..]].concat(), &settings).await;

    let document = "document: {dsl: 1.0.3, namespace: test, name: python, version: 1.0.0}\n\
                    do:\n- first: {set: {a: 1}}\n- second: {set: {greeting: hello, b: [2]}}\n";
    let deployment = gateway.deploy(document, "python").await;
    assert_eq!(deployment["name"], "python");
    let path = format!(
        "/api/deployments/{}/trigger?wait=60s",
        deployment["id"].as_str().unwrap()
    );
    let (status, execution) = gateway.post(&path, &json!({"x": 1})).await;
    assert_eq!(status, 200, "{execution:#}");
    assert_eq!(execution["status"], "SUCCEEDED", "{execution:#}");
    assert_eq!(execution["output"], json!({"greeting": "hello", "b": [2]}));
    let history = gateway.history(execution["id"].as_str().unwrap()).await;
    assert_eq!(history[0]["kind"], "executionSucceeded", "{history:#?}");

    // What it cannot run is said when it is deployed, and where.
    let document = "document: {dsl: 1.0.3, namespace: test, name: waits, version: 1.0.0}\n\
                    do:\n- nap: {wait: PT1S}\n";
    let body = json!({"workflow": document, "triggers": []});
    let (status, problem) = gateway.post("/api/deployments", &body).await;
    assert_eq!(status, 400, "{problem:#}");
    let error = &problem["errors"][0];
    assert_eq!(error["pointer"], "/workflow/do/0/nap", "{problem:#}");

    engine.child.kill().await.unwrap();
    eventually(PATIENCE, || async {
        let (_, health) = gateway.get("/health").await;
        match health["dependencies"]["workflow_engine"]["status"].as_str() {
            Some("unhealthy") => Ok(()),
            _ => Err(health),
        }
    })
    .await;
}
