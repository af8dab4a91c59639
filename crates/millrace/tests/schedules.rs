//! Schedules through the real binary: their ledger, and what a kill does to it.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use millrace_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, command};

const DOCUMENT: &str = "document: {dsl: 1.0.3, namespace: test, name: ticking, version: 1.0.0}\n\
                        do:\n- keep:\n    set: {at: '${ .trigger.nominalAt }'}\n";

fn every_second(name: &str) -> Value {
    json!({"type": "cron", "cron": "* * * * * *", "name": name, "jitterWindow": "PT0S",
           "overlap": "allow"})
}

/// Deploys, and answers the ids of the triggers.
async fn deploy(millrace: &Millrace, triggers: &Value) -> Vec<String> {
    let body = json!({"workflow": DOCUMENT, "triggers": triggers});
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let triggers = deployment["triggers"].as_array().unwrap().iter();
    triggers
        .map(|t| t["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Everything at a path that is a list, page by page.
async fn all(millrace: &Millrace, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = millrace.get(&format!("{path}limit=7{cursor}")).await;
        assert_eq!(status, 200, "{page:#}");
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// The ledger, oldest first.
async fn ledger(millrace: &Millrace, trigger: &str) -> Vec<Value> {
    let mut fires = all(millrace, &format!("/api/triggers/{trigger}/fires?")).await;
    fires.reverse();
    fires
}

async fn until_fired(millrace: &Millrace, trigger: &str, times: usize) -> Vec<Value> {
    eventually(PATIENCE, || async {
        let fires = ledger(millrace, trigger).await;
        if fires.iter().filter(|f| f["outcome"] == "fired").count() >= times {
            Ok(fires)
        } else {
            Err(fires)
        }
    })
    .await
}

fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Asserts that a ledger of every second has each second once, with an
/// execution of its own or a reason why it has none. Answers the executions.
fn assert_gapless(fires: &[Value]) -> Vec<String> {
    let mut executions = Vec::new();
    for pair in fires.windows(2) {
        let gap = time(&pair[1]["nominalAt"]).duration_since(time(&pair[0]["untilAt"]));
        assert_eq!(gap.as_secs(), 1, "{pair:#?}");
    }
    for fire in fires {
        match fire["outcome"].as_str() {
            Some("fired") => executions.push(fire["executionId"].as_str().unwrap().to_owned()),
            _ => assert!(fire["reason"].is_string(), "{fire:#}"),
        }
    }
    let distinct: HashSet<_> = executions.iter().collect();
    assert_eq!(distinct.len(), executions.len(), "an execution fired twice");
    executions
}

/// Asserts that there is exactly one execution for each nominal time fired.
async fn assert_one_run_each(millrace: &Millrace, mut fired: Vec<String>) {
    let mut ran: Vec<String> = all(millrace, "/api/executions?trigger=cron&")
        .await
        .iter()
        .map(|execution| execution["id"].as_str().unwrap().to_owned())
        .collect();
    fired.sort();
    ran.sort();
    assert_eq!(ran, fired);
}

#[tokio::test]
async fn a_kill_leaves_no_gap_without_a_reason_and_no_second_run() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let trigger = deploy(&millrace, &json!([every_second("tick")]))
        .await
        .remove(0);
    let before = until_fired(&millrace, &trigger, 3).await;
    let (status, preview) = millrace
        .get(&format!("/api/triggers/{trigger}/preview?count=5"))
        .await;
    assert_eq!(status, 200, "{preview:#}");
    assert_eq!(preview["items"].as_array().unwrap().len(), 5);
    assert_eq!(preview["items"][0]["outcome"], Value::Null);
    millrace.kill().await;

    let millrace = Millrace::dev(data.path()).await;
    until_fired(&millrace, &trigger, before.len() + 4).await;
    let deployment = all(&millrace, "/api/deployments?").await.remove(0);
    let id = deployment["id"].as_str().unwrap();
    let (status, _) = millrace
        .post(&format!("/api/deployments/{id}/pause"), &json!({}))
        .await;
    assert_eq!(status, 200);
    let fires = ledger(&millrace, &trigger).await;
    let executions = assert_gapless(&fires);
    let last = executions.last().unwrap();
    let ended = millrace.until(last, &["SUCCEEDED", "FAILED"]).await;
    let fired = fires.iter().rfind(|f| f["outcome"] == "fired").unwrap();
    assert_eq!(ended["output"], json!({"at": fired["nominalAt"]}));
    assert_eq!(ended["trigger"], json!({"type": "cron", "id": trigger}));
    assert_one_run_each(&millrace, executions).await;
}

#[tokio::test]
async fn a_pause_is_in_the_ledger_and_starts_nothing() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let trigger = deploy(&millrace, &json!([every_second("tick")]))
        .await
        .remove(0);
    until_fired(&millrace, &trigger, 1).await;
    let deployment = all(&millrace, "/api/deployments?").await.remove(0);
    let id = deployment["id"].as_str().unwrap();
    millrace
        .post(&format!("/api/deployments/{id}/pause"), &json!({}))
        .await;
    let paused_at = jiff::Timestamp::now();
    eventually(PATIENCE, || async {
        let passed = jiff::Timestamp::now().duration_since(paused_at);
        (passed.as_secs() >= 3).then_some(()).ok_or(passed)
    })
    .await;
    let so_far = ledger(&millrace, &trigger).await;
    let fired = so_far.iter().filter(|f| f["outcome"] == "fired").count();
    millrace
        .post(&format!("/api/deployments/{id}/resume"), &json!({}))
        .await;
    let fires = until_fired(&millrace, &trigger, fired + 2).await;
    assert_gapless(&fires);
    let paused = fires.iter().filter(|f| f["outcome"] == "paused").count();
    assert!(paused >= 2, "{fires:#?}");
}

#[tokio::test]
async fn the_command_line_deploys_a_cron_that_fires() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let file = data.path().join("workflow.yaml");
    std::fs::write(&file, DOCUMENT).unwrap();
    let server = millrace.url("");
    let arguments = [
        "deploy",
        file.to_str().unwrap(),
        "--cron",
        "* * * * * *",
        "--server",
        &server,
    ];
    let output = command(&arguments, &[]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("cron     * * * * * *"), "{said}");
    let deployment = all(&millrace, "/api/deployments?").await.remove(0);
    let trigger = deployment["triggers"][0]["id"].as_str().unwrap();
    until_fired(&millrace, trigger, 1).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_said_with_its_place() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let body = json!({"workflow": DOCUMENT, "triggers": [
        {"type": "cron", "cron": "61 * * * *", "timezone": "Mars/Base"},
        {"type": "interval", "every": "PT1S", "overlap": "wait"},
    ]});
    let (status, problem) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 400, "{problem:#}");
    let places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "/triggers/0/cron",
            "/triggers/0/timezone",
            "/triggers/1/overlap"
        ]
    );
    let unknown = "/api/triggers/trg_01jd0000000000000000000000";
    for path in [
        "fires",
        "preview",
        "fires?from=yesterday",
        "preview?count=0",
    ] {
        let (status, problem) = millrace.get(&format!("{unknown}/{path}")).await;
        let expected = if path.contains('?') { 400 } else { 404 };
        assert_eq!(status, expected, "{path}: {problem:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_runtimes_one_killed_fire_every_nominal_time_once() {
    let database = TestDatabase::create().await;
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        ("MILLRACE_RUNTIME__LEASE_TTL", "2s"),
    ];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let mut runtimes = Vec::new();
    for _ in 0..3 {
        let arguments = ["runtime", "--ready-json", "--listen", "127.0.0.1:0"];
        runtimes.push(Millrace::start(&arguments, &settings).await);
    }
    let addresses: Vec<_> = runtimes
        .iter()
        .map(|runtime| format!("http://{}", runtime.address("runtime")))
        .collect();
    let addresses = addresses.join(",");
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    let of_gateway = [("MILLRACE_GATEWAY__RUNTIME", addresses.as_str())];
    let gateway = Millrace::start(&arguments, &of_gateway).await;

    let names = ["a", "b", "c", "d"];
    let triggers = deploy(&gateway, &json!(names.map(every_second))).await;
    until_fired(&gateway, &triggers[0], 3).await;
    runtimes.remove(1).kill().await;
    for trigger in &triggers {
        until_fired(&gateway, trigger, 12).await;
    }
    let deployment = all(&gateway, "/api/deployments?").await.remove(0);
    let id = deployment["id"].as_str().unwrap();
    let (status, _) = gateway
        .post(&format!("/api/deployments/{id}/pause"), &json!({}))
        .await;
    assert_eq!(status, 200);
    // No decision that was under way during the pause is left to come.
    eventually(Duration::from_secs(20), || async {
        let open = all(&gateway, "/api/executions?trigger=cron&").await;
        let open = open.iter().filter(|e| e["status"] != "SUCCEEDED").count();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
    let mut executions = Vec::new();
    for trigger in &triggers {
        let fires = ledger(&gateway, trigger).await;
        assert!(fires.iter().all(|f| f["outcome"] != "missed"), "{fires:#?}");
        executions.extend(assert_gapless(&fires));
    }
    assert_one_run_each(&gateway, executions).await;
}
