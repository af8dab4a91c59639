//! examples/todo-app: its services run, keep their data, and are called by a
//! workflow.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::{Millrace, answer, client, post_json};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A Node that is new enough; fetched when there is none.
fn node() -> String {
    let found = std::process::Command::new(repository().join("scripts/tool"))
        .arg("node")
        .stderr(Stdio::inherit())
        .output()
        .expect("scripts/tool runs");
    assert!(found.status.success(), "there is no Node to test with");
    String::from_utf8(found.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

async fn dev(data: &Path) -> Millrace {
    let node = node();
    // Of its own: other tests run beside this one.
    let ports = millrace_testkit::port_pool(100);
    let settings = [
        ("MILLRACE_ORCHESTRATOR__NODE", node.as_str()),
        ("MILLRACE_ORCHESTRATOR__PORTS", ports.as_str()),
    ];
    Millrace::dev_with(data, &settings).await
}

/// Makes the project of the example; its id.
async fn project(millrace: &Millrace) -> String {
    let path = repository()
        .join("examples/todo-app")
        .canonicalize()
        .unwrap();
    let body = json!({"name": "Todo app", "key": "TODO", "localPath": path});
    let (status, project) = millrace.post("/api/projects", &body).await;
    assert_eq!(status, 201, "{project:#}");
    project["id"].as_str().unwrap().to_owned()
}

/// Deploys a service and starts it; the workload, which runs.
async fn start(millrace: &Millrace, project: &str, service: &str) -> Value {
    let body = json!({"projectId": project, "service": service});
    let (status, workload) = millrace.post("/api/workloads", &body).await;
    assert_eq!(status, 201, "{workload:#}");
    let path = format!(
        "/api/workloads/{}/start?wait=60s",
        workload["id"].as_str().unwrap()
    );
    let (status, workload) = millrace.post(&path, &json!({})).await;
    assert_eq!(
        (status, &workload["stage"]),
        (200, &json!("running")),
        "{workload:#}"
    );
    workload
}

#[tokio::test]
async fn a_record_outlives_the_restart_of_its_service() {
    let data = tempfile::tempdir().unwrap();
    let millrace = dev(data.path()).await;
    let project = project(&millrace).await;
    let workload = start(&millrace, &project, "project-dataobject").await;

    // Through its own port, and through its stable address.
    let own = workload["url"].as_str().unwrap().to_owned();
    let stable = millrace.url("/services/TODO/project-dataobject");
    let http = client();
    let home = json!({"key": "HOME", "name": "Home"});
    let (status, made) = answer(post_json(&http, &format!("{own}/"), &home)).await;
    assert_eq!(status, 201, "{made:#}");
    let id = made["id"].as_str().unwrap();
    let work = json!({"key": "WORK", "name": "Work"});
    let posted = post_json(&http, &format!("{stable}/"), &work)
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 201);
    let location = posted.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        location.starts_with("/services/TODO/project-dataobject/"),
        "{location}"
    );
    for at in [format!("{own}/{id}"), format!("{stable}/{id}")] {
        assert_eq!(answer(http.get(at)).await, (200, made.clone()));
    }

    let path = format!(
        "/api/workloads/{}/restart?wait=60s",
        workload["id"].as_str().unwrap()
    );
    let (status, again) = millrace.post(&path, &json!({})).await;
    assert_eq!(
        (status, &again["stage"]),
        (200, &json!("running")),
        "{again:#}"
    );
    assert_ne!(again["containerId"], workload["containerId"]);
    assert_eq!(
        answer(http.get(format!("{stable}/{id}"))).await,
        (200, made)
    );
    let (_, list) = answer(http.get(format!("{stable}/?sort=key"))).await;
    let keys: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["key"])
        .collect();
    assert_eq!(keys, ["HOME", "WORK"]);
    millrace.terminate().await;
}

#[tokio::test]
async fn a_workflow_calls_services_at_their_stable_addresses() {
    let data = tempfile::tempdir().unwrap();
    let millrace = dev(data.path()).await;
    let project = project(&millrace).await;
    let (status, started) = millrace
        .post(
            &format!("/api/projects/{project}/start?wait=60s"),
            &json!({}),
        )
        .await;
    assert_eq!(status, 200, "{started:#}");
    let document = std::fs::read_to_string(repository().join("examples/todo-app/workflow.yaml"))
        .unwrap()
        .replace("127.0.0.1:8080", &millrace.address("http"));
    millrace.deploy(&document, "todo/projects").await;
    let id = millrace
        .fire("todo/projects", &json!({"key": "TRIP", "name": "Trip"}))
        .await;
    let ended = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    let task = &ended["output"]["task"];
    assert_eq!(task["projectId"], ended["output"]["project"]["id"]);
    assert_eq!(task["title"], "Plan Trip");

    // A task of no project is refused, and its place is named.
    let task = json!({"projectId": "nobody", "title": "x"});
    let path = "/services/TODO/task-dataobject/";
    let (status, refused) = millrace.post(path, &task).await;
    assert_eq!(status, 422, "{refused:#}");
    assert_eq!(refused["errors"][0]["pointer"], "/projectId");
    millrace.terminate().await;
}

/// How many replacements; 50 show what is promised.
fn replacements() -> usize {
    std::env::var("MILLRACE_SOAK_REPLACEMENTS").map_or(3, |text| text.parse().unwrap())
}

#[tokio::test]
async fn no_request_fails_while_its_service_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let millrace = dev(data.path()).await;
    let project = project(&millrace).await;
    let workload = start(&millrace, &project, "project-dataobject").await;
    let stable = millrace.url("/services/TODO/project-dataobject/");
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (stable, stop) = (stable.clone(), Arc::clone(&stop));
        callers.spawn(async move {
            let http = client();
            let mut answered = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                // Half of them write, which nobody may do twice.
                let key = format!("C{caller}{answered}");
                let (status, body) = if caller % 2 == 0 {
                    answer(http.get(format!("{stable}?limit=1"))).await
                } else {
                    answer(post_json(&http, &stable, &json!({"key": key, "name": "x"}))).await
                };
                let expected = if caller % 2 == 0 { 200 } else { 201 };
                assert_eq!(status, expected, "{body:#}");
                answered += 1;
            }
            answered
        });
    }
    let path = format!(
        "/api/workloads/{}/restart?strategy=blueGreen&wait=60s",
        workload["id"].as_str().unwrap()
    );
    let mut pids = vec![workload["containerId"].clone()];
    for _ in 0..replacements() {
        let (status, replaced) = millrace.post(&path, &json!({})).await;
        assert_eq!(status, 200, "{replaced:#}");
        assert_eq!(replaced["stage"], "running", "{replaced:#}");
        assert_ne!(Some(&replaced["containerId"]), pids.last(), "{replaced:#}");
        pids.push(replaced["containerId"].clone());
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    while let Some(caller) = callers.join_next().await {
        answered += caller.expect("no request failed");
    }
    println!("{answered} requests over {} replacements", replacements());
    assert!(answered > 0);
    millrace.terminate().await;
}
