//! All services of a project at once.

use std::fs;

use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::eventually;

use crate::harness::{Harness, PATIENCE, WAIT};

const IDLE: &str = r#"{"type": "process", "port": false, "command": ["sleep", "1000"]"#;

fn idle(harness: &Harness, service: &str, more: &str) {
    harness.service(service, &format!("{IDLE}{more}}}"));
}

async fn start(harness: &Harness) -> Vec<pb::Workload> {
    let request = pb::StartProjectRequest {
        project_id: harness.project.clone(),
        wait_ms: WAIT,
    };
    let started = harness.client.clone().start_project(request).await;
    let workloads = started.unwrap().into_inner().workloads;
    assert!(
        workloads.iter().all(|w| w.stage == "running"),
        "{workloads:#?}"
    );
    workloads
}

async fn stop(harness: &Harness, wait_ms: u32) -> Vec<pb::Workload> {
    let request = pb::StopProjectRequest {
        project_id: harness.project.clone(),
        wait_ms,
    };
    let stopped = harness.client.clone().stop_project(request).await;
    stopped.unwrap().into_inner().workloads
}

/// Stops them; when each of them ended.
async fn ends(harness: &Harness) -> Vec<(String, String)> {
    let stopped = stop(harness, WAIT).await;
    assert!(stopped.iter().all(|w| w.stage == "stopped"), "{stopped:#?}");
    let mut ends = Vec::new();
    for workload in stopped {
        let last = workload.instances.last().unwrap();
        ends.push((last.ended_at.clone(), workload.service));
    }
    ends.sort();
    ends
}

fn names(ends: &[(String, String)]) -> Vec<&str> {
    ends.iter().map(|(_, service)| service.as_str()).collect()
}

#[tokio::test]
async fn all_services_are_stopped_whatever_has_become_of_their_folders() {
    let harness = Harness::new().await;
    let services = harness.home().join("src/services");
    idle(&harness, "db", "");
    idle(&harness, "web", r#", "dependsOn": ["db"]"#);
    start(&harness).await;
    // What is depended on is gone, and is stopped last all the same.
    fs::remove_dir_all(services.join("db")).unwrap();
    assert_eq!(names(&ends(&harness).await), ["web", "db"]);

    idle(&harness, "db", "");
    start(&harness).await;
    idle(&harness, "db", r#", "dependsOn": ["web"]"#);
    let mut stopped: Vec<String> = ends(&harness).await.into_iter().map(|(_, s)| s).collect();
    stopped.sort();
    assert_eq!(stopped, ["db", "web"], "in a circle");

    idle(&harness, "db", "");
    start(&harness).await;
    fs::rename(harness.home(), harness.folder.path().join("moved")).unwrap();
    assert_eq!(
        ends(&harness).await.len(),
        2,
        "of a project whose folder is gone"
    );
    harness.end().await;
}

#[tokio::test]
async fn one_that_is_deleted_meanwhile_does_not_keep_the_others_from_being_stopped() {
    let harness = Harness::new().await;
    // It takes all of its grace: there is time to delete another one.
    harness.service(
        "web",
        r#"{"type": "process", "port": false, "dependsOn": ["logic"], "stop": {"grace": "PT1S"},
            "command": "trap '' TERM; touch ../../../up; while :; do sleep 0.05; done"}"#,
    );
    idle(&harness, "logic", r#", "dependsOn": ["db"]"#);
    idle(&harness, "db", "");
    let started = start(&harness).await;
    let id = |service: &str| {
        let found = started.iter().find(|w| w.service == service);
        found.unwrap().workload_id.clone()
    };
    let up = harness.home().join("up");
    eventually(PATIENCE, || async {
        if up.exists() {
            Ok(())
        } else {
            Err("it is not up")
        }
    })
    .await;
    assert_eq!(stop(&harness, 0).await.len(), 3);
    let request = pb::DeleteWorkloadRequest {
        workload_id: id("logic"),
    };
    let deleted = harness.client.clone().delete_workload(request).await;
    deleted.unwrap();
    harness.until(&id("db"), |w| w.stage == "stopped").await;
    harness.until(&id("web"), |w| w.stage == "stopped").await;
    harness.end().await;
}
