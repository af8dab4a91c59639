//! The orchestrator as it runs in a container, where services cannot outlive
//! it: `orchestrator.keep_services = false`.

mod support;

use std::path::Path;

use millrace_testkit::{eventually, port_pool};
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, command};

async fn orchestrator(data: &Path, database: &str, ports: &str) -> Millrace {
    let folder = data.join("data");
    let roots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let roots = roots.canonicalize().unwrap();
    let arguments = [
        "orchestrator",
        "--ready-json",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        folder.to_str().unwrap(),
        "--roots",
        roots.to_str().unwrap(),
    ];
    let settings = [
        ("DATABASE_URL", database),
        ("MILLRACE_ORCHESTRATOR__NODE_ID", "pod-0"),
        ("MILLRACE_ORCHESTRATOR__PORTS", ports),
        ("MILLRACE_ORCHESTRATOR__KEEP_SERVICES", "false"),
    ];
    Millrace::start(&arguments, &settings).await
}

async fn gateway(orchestrator: &Millrace) -> Millrace {
    let address = format!("http://{}", orchestrator.address("orchestrator"));
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    let settings = [("MILLRACE_GATEWAY__ORCHESTRATOR", address.as_str())];
    Millrace::start(&arguments, &settings).await
}

fn pid_of(workload: &Value) -> u32 {
    let pid = workload["containerId"].as_str().expect("it runs");
    pid.parse().expect("a process")
}

#[tokio::test]
async fn services_stop_with_the_orchestrator_and_start_with_the_next_one() {
    let data = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/orchestrator.db", data.path().display());
    let settings = [("DATABASE_URL", database.as_str())];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success());
    let ports = port_pool(20);
    let first = orchestrator(data.path(), &database, &ports).await;
    let http = gateway(&first).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/call-a-service");
    let project =
        json!({"name": "Stock", "key": "STOCK", "localPath": folder.canonicalize().unwrap()});
    let (status, project) = http.post("/api/projects", &project).await;
    assert_eq!(status, 201, "{project:#}");
    let start = format!(
        "/api/projects/{}/start?wait=60s",
        project["id"].as_str().unwrap()
    );
    let (status, started) = http.post(&start, &json!({})).await;
    assert_eq!(status, 200, "{started:#}");
    let before = &started["items"][0];
    let workload = format!("/api/workloads/{}", before["id"].as_str().unwrap());
    let pid = pid_of(before);
    assert!(Path::new(&format!("/proc/{pid}")).exists());

    assert_eq!(first.terminate().await.code(), Some(0));
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the service outlived its container"
    );
    http.terminate().await;

    let second = orchestrator(data.path(), &database, &ports).await;
    let http = gateway(&second).await;
    let again = eventually(PATIENCE, || async {
        let (_, workload) = http.get(&workload).await;
        match workload["stage"].as_str() {
            Some("running") if workload["health"] == "ready" => Ok(workload),
            _ => Err(workload),
        }
    })
    .await;
    assert_ne!(pid_of(&again), pid);
    // It was stopped in order, and nobody takes that for a crash.
    assert_eq!(again["restarts"], 0, "{again:#}");
    let (status, _) = http.get("/services/STOCK/stock/health").await;
    assert_eq!(status, 200);
    let stop = start.replace("/start?", "/stop?");
    let (status, stopped) = http.post(&stop, &json!({})).await;
    assert_eq!(status, 200, "{stopped:#}");
    http.terminate().await;
    second.terminate().await;
}
