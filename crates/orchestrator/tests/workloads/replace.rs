//! Replacements that do not go as they should.

use std::fs;

use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::eventually;

use crate::harness::{Harness, PATIENCE, get, is_alive};

/// Where there is a file `wait`, a server says so and waits for one named `go`.
const PRELUDE: &str = "import os, time\n\
    if os.path.exists('wait'):\n\
    \x20   open('asked', 'w').close()\n\
    \x20   while not os.path.exists('go'): time.sleep(0.005)\n";

/// Asks for a replacement, and does not wait for it.
async fn replace(harness: &Harness, id: &str) {
    let request = pb::RestartWorkloadRequest {
        workload_id: id.into(),
        strategy: "blueGreen".into(),
        wait_ms: 0,
    };
    let asked = harness.client.clone().restart_workload(request).await;
    asked.unwrap();
}

async fn until_there(file: &std::path::Path) {
    eventually(PATIENCE, || async {
        if file.exists() { Ok(()) } else { Err(file) }
    })
    .await;
}

/// The port that requests for the service are led to.
async fn endpoint(harness: &Harness, service: &str) -> Option<u32> {
    let request = pb::ResolveServiceRequest {
        project_key: "TEST".into(),
        service: service.into(),
    };
    let found = harness.client.clone().resolve_service(request).await;
    let endpoint = found.unwrap().into_inner().endpoint;
    endpoint.map(|endpoint| endpoint.port)
}

#[tokio::test]
async fn a_candidate_whose_predecessor_died_unseen_serves_once_it_is_ready() {
    let harness = Harness::new().await;
    let folder = harness.http_service("web", "");
    let server = fs::read_to_string(folder.join("server.py")).unwrap();
    fs::write(folder.join("server.py"), format!("{PRELUDE}{server}")).unwrap();
    let old = harness.run("web").await;
    let id = old.workload_id.clone();
    assert_eq!(endpoint(&harness, "web").await, Some(old.port));
    fs::write(folder.join("wait"), "").unwrap();
    replace(&harness, &id).await;
    until_there(&folder.join("asked")).await;
    let killed = std::process::Command::new("kill")
        .args(["-9", &old.container_id])
        .status();
    assert!(killed.unwrap().success());
    eventually(PATIENCE, || async {
        if is_alive(&old.container_id) {
            Err("it lives")
        } else {
            Ok(())
        }
    })
    .await;
    let harness = harness.reborn().await;

    // The port of the one that is dead may be anybody's by now.
    let waits = harness
        .until(&id, |w| {
            let old = w.instances.first();
            old.is_some_and(|old| !old.ended_at.is_empty())
        })
        .await;
    assert_eq!(
        (waits.stage.as_str(), waits.port),
        ("deploy", 0),
        "{waits:#?}"
    );
    assert_eq!(endpoint(&harness, "web").await, None);
    fs::write(folder.join("go"), "").unwrap();
    let new = harness.until(&id, |w| w.stage == "running").await;
    assert_ne!(new.port, old.port);
    assert_eq!(get(new.port).await.unwrap(), "hello");
    assert_eq!(endpoint(&harness, "web").await, Some(new.port));
    assert_eq!(new.instances.len(), 2, "{new:#?}");
    assert_eq!(new.instances[1].pid.to_string(), new.container_id);
    harness.end().await;
}

#[tokio::test]
async fn a_service_is_not_stopped_before_both_of_a_replacement_are() {
    let harness = Harness::new().await;
    let folder = harness.http_service("web", "");
    // The candidate is never ready, and takes all of its grace to end.
    let spec = r#"{"type": "process", "stop": {"grace": "PT0.5S"}, "command":
        "if [ -e slow ]; then trap '' TERM; touch asked; while :; do sleep 0.05; done; fi; exec python3 -u server.py"}"#;
    harness.service("web", spec);
    let old = harness.run("web").await;
    assert_eq!(old.stage, "running", "{old:#?}");
    fs::write(folder.join("slow"), "").unwrap();
    replace(&harness, &old.workload_id).await;
    until_there(&folder.join("asked")).await;
    let stopped = harness.stop(&old.workload_id).await;
    assert_eq!(stopped.stage, "stopped", "{stopped:#?}");
    assert_eq!(stopped.instances.len(), 2);
    assert!(!is_alive(&old.container_id));
    // What was stored on the way there is looked at in the end.
    harness.end().await;
}
