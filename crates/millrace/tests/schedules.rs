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

/// Asserts that there is exactly one execution for each nominal time fired, of
/// triggers of this type.
async fn assert_one_run_each(millrace: &Millrace, kind: &str, mut fired: Vec<String>) {
    let mut ran: Vec<String> = all(millrace, &format!("/api/executions?trigger={kind}&"))
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
    assert_one_run_each(&millrace, "cron", executions).await;
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
    assert_one_run_each(&gateway, "cron", executions).await;
}

/// Deploys a workflow of one task under a schedule of each second.
async fn deploy_overlapping(millrace: &Millrace, task: &Value, overlap: &str) -> String {
    let mut trigger = every_second("tick");
    trigger["overlap"] = overlap.into();
    let workflow = json!({
        "document": {"dsl": "1.0.3", "namespace": "test", "name": overlap, "version": "1.0.0"},
        "do": [{"task": task}],
    });
    let body = json!({"workflow": workflow, "triggers": [trigger]});
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    deployment["triggers"][0]["id"].as_str().unwrap().to_owned()
}

/// Asserts that of the executions of one schedule each started after the one
/// before had ended. Answers them, oldest first.
async fn assert_one_at_a_time(millrace: &Millrace) -> Vec<Value> {
    let mut runs = all(millrace, "/api/executions?trigger=cron&").await;
    runs.reverse();
    for pair in runs.windows(2) {
        let ended = time(&pair[0]["endedAt"]);
        assert!(time(&pair[1]["createdAt"]) >= ended, "{pair:#?}");
    }
    runs
}

#[tokio::test]
async fn a_queued_occurrence_runs_when_the_one_before_has_ended() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let trigger = deploy_overlapping(&millrace, &json!({"wait": "PT2.5S"}), "queue").await;
    let fires = until_fired(&millrace, &trigger, 3).await;
    assert_gapless(&fires);
    let has = |outcome: &str| fires.iter().any(|fire| fire["outcome"] == outcome);
    assert!(has("skipped"), "{fires:#?}");
    let waited = |fire: &&Value| {
        fire["reason"]
            .as_str()
            .unwrap_or_default()
            .contains("waited")
    };
    let fired: Vec<_> = fires.iter().filter(|f| f["outcome"] == "fired").collect();
    assert!(fired[1..].iter().all(waited), "{fired:#?}");
    let runs = assert_one_at_a_time(&millrace).await;
    assert!(runs.len() >= 3);
}

#[tokio::test]
async fn a_run_that_is_in_the_way_is_cancelled_for_the_next() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let trigger = deploy_overlapping(&millrace, &json!({"wait": "PT1H"}), "cancel").await;
    until_fired(&millrace, &trigger, 3).await;
    let runs = assert_one_at_a_time(&millrace).await;
    assert_eq!(runs[0]["status"], "CANCELLED", "{runs:#?}");
    assert_eq!(runs[1]["status"], "CANCELLED", "{runs:#?}");
}

#[tokio::test]
async fn the_schedule_of_a_document_fires_unless_the_deployment_has_its_own() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let document = DOCUMENT.replace("do:\n", "schedule: {cron: '0 3 * * *', every: PT1S}\ndo:\n");
    let (status, deployment) = millrace
        .post_text("/api/deployments", "application/yaml", document.clone())
        .await;
    assert_eq!(status, 201, "{deployment:#}");
    let triggers = deployment["triggers"].as_array().unwrap();
    let names: Vec<_> = triggers.iter().map(|t| t["name"].as_str()).collect();
    assert_eq!(names, [Some("schedule.cron"), Some("schedule.every")]);
    let own = json!([{"type": "cron", "cron": "0 4 * * *", "name": "own"}]);
    let body = json!({"workflow": document, "triggers": own});
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    assert_eq!(deployment["triggers"].as_array().unwrap().len(), 1);
    assert_eq!(deployment["triggers"][0]["name"], "own");

    let refused = DOCUMENT.replace("do:\n", "schedule: {after: PT0.1S}\ndo:\n");
    let (status, problem) = millrace
        .post_text("/api/deployments", "application/yaml", refused)
        .await;
    assert_eq!(status, 400, "{problem:#}");
    assert_eq!(problem["errors"][0]["pointer"], "/schedule/after");
    assert_eq!(problem["errors"][0]["line"], 2);
}

/// Asserts that each run of a chain was due a second after the end of the one
/// before it. Answers the runs.
async fn assert_a_chain(millrace: &Millrace, fires: &[Value]) -> Vec<String> {
    let mut runs = Vec::new();
    let mut due: Option<jiff::Timestamp> = None;
    for fire in fires {
        assert_eq!(fire["outcome"], "fired", "{fires:#?}");
        let nominal = time(&fire["nominalAt"]);
        assert!(due.is_none_or(|due| due == nominal), "{fires:#?}");
        let id = fire["executionId"].as_str().unwrap();
        let run = millrace.until(id, &["SUCCEEDED", "FAILED"]).await;
        assert_eq!(run["status"], "SUCCEEDED", "{run:#}");
        assert_eq!(run["output"], json!({"at": fire["nominalAt"]}));
        let ended = time(&run["endedAt"]);
        due = Some(ended + jiff::SignedDuration::from_secs(1));
        runs.push(id.to_owned());
    }
    runs
}

#[tokio::test]
async fn a_run_follows_the_end_of_the_one_before_over_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let document = DOCUMENT
        .replace("do:\n", "schedule: {after: PT1S}\ndo:\n")
        .replace("- keep:", "- nap: {wait: {milliseconds: 700}}\n- keep:");
    let (status, plan) = millrace
        .post("/api/deployments/plan", &json!({"workflow": document}))
        .await;
    assert_eq!(status, 200, "{plan:#}");
    let fires = plan["plan"]["fires"].as_array().unwrap();
    assert_eq!(fires.len(), 1, "{plan:#}");
    let (status, deployment) = millrace
        .post_text("/api/deployments", "application/yaml", document)
        .await;
    assert_eq!(status, 201, "{deployment:#}");
    assert_eq!(deployment["triggers"][0]["name"], "schedule.after");
    let trigger = deployment["triggers"][0]["id"].as_str().unwrap().to_owned();
    let fires = until_fired(&millrace, &trigger, 2).await;
    assert!(fires.len() < 4, "one run at a time: {fires:#?}");
    // The second run goes on, and the next one is to come.
    millrace.kill().await;

    let millrace = Millrace::dev(data.path()).await;
    until_fired(&millrace, &trigger, 4).await;
    let id = deployment["id"].as_str().unwrap();
    let (status, _) = millrace
        .post(&format!("/api/deployments/{id}/pause"), &json!({}))
        .await;
    assert_eq!(status, 200);
    let fires = ledger(&millrace, &trigger).await;
    let expected = assert_a_chain(&millrace, &fires).await;
    assert_one_run_each(&millrace, "interval", expected).await;

    // What came due while it was paused is told, and the chain goes on.
    let last = time(&fires.last().unwrap()["nominalAt"]);
    eventually(PATIENCE, || async {
        let passed = jiff::Timestamp::now().duration_since(last);
        (passed.as_secs() >= 4).then_some(()).ok_or(passed)
    })
    .await;
    assert_eq!(ledger(&millrace, &trigger).await.len(), fires.len());
    millrace
        .post(&format!("/api/deployments/{id}/resume"), &json!({}))
        .await;
    let after = until_fired(&millrace, &trigger, fires.len() + 2).await;
    let after = &after[fires.len()..];
    assert_eq!(after[0]["outcome"], "paused", "{after:#?}");
    assert_a_chain(&millrace, &after[1..]).await;

    let backfill = json!({"from": fires[0]["nominalAt"], "to": fires[1]["nominalAt"]});
    let (status, problem) = millrace
        .post(&format!("/api/triggers/{trigger}/backfill"), &backfill)
        .await;
    assert_eq!(status, 400, "{problem:#}");
}

#[tokio::test]
async fn a_one_shot_of_the_past_is_refused_unless_it_was_there_before() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let once = json!({"type": "once", "at": at.to_string(), "name": "soon"});
    let body = json!({"workflow": DOCUMENT, "triggers": [once]});
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let trigger = deployment["triggers"][0]["id"].as_str().unwrap();
    until_fired(&millrace, trigger, 1).await;

    let (status, again) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 200, "{again:#}");
    let warning = &again["warnings"][0];
    assert_eq!(warning["pointer"], "/triggers/0/at", "{again:#}");
    let mut other = body.clone();
    other["config"] = json!({"labels": {"a": "b"}});
    let (status, changed) = millrace.post("/api/deployments", &other).await;
    assert_eq!(status, 201, "{changed:#}");
    other["triggers"][0]["at"] = "2020-01-01T00:00:00Z".into();
    let (status, problem) = millrace.post("/api/deployments", &other).await;
    assert_eq!(status, 400, "{problem:#}");
    assert_eq!(problem["errors"][0]["pointer"], "/triggers/0/at");
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let nightly =
        |hour: &str| json!({"type": "cron", "cron": format!("0 {hour} * * *"), "name": "n"});
    let body = |hour: &str| json!({"workflow": DOCUMENT, "triggers": [nightly(hour)]});
    let plan = async |body: &Value| {
        let (status, plan) = millrace.post("/api/deployments/plan", body).await;
        assert_eq!(status, 200, "{plan:#}");
        plan
    };
    let new = plan(&body("2")).await;
    assert_eq!(
        (&new["valid"], &new["plan"]["action"]),
        (&json!(true), &json!("create"))
    );
    assert!(all(&millrace, "/api/deployments?").await.is_empty());

    deploy(&millrace, &json!([nightly("2")])).await;
    let same = plan(&body("2")).await;
    assert_eq!(same["plan"]["action"], "none", "{same:#}");
    assert_eq!(same["plan"]["changes"], json!([]));
    assert_eq!(same["plan"]["fires"][0]["change"], "kept");

    let moved = plan(&body("2,3")).await;
    assert_eq!(moved["plan"]["action"], "update", "{moved:#}");
    let change = &moved["plan"]["changes"][0];
    assert_eq!(change["pointer"], "/triggers/n/cron", "{moved:#}");
    assert_eq!(
        (&change["before"], &change["after"]),
        (&json!("0 2 * * *"), &json!("0 2,3 * * *"))
    );
    let fires = moved["plan"]["fires"].as_array().unwrap();
    let count = |change: &str| fires.iter().filter(|f| f["change"] == change).count();
    assert!(
        count("kept") >= 4 && count("added") >= 4 && count("lost") == 0,
        "{fires:#?}"
    );

    let mut bad = body("61");
    bad["config"] = json!({"lables": {}});
    let refused = plan(&bad).await;
    assert_eq!(
        (&refused["valid"], &refused["plan"]),
        (&json!(false), &Value::Null)
    );
    let findings = refused["diagnostics"].as_array().unwrap();
    let places: Vec<_> = findings
        .iter()
        .map(|f| f["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["/triggers/0/cron", "/config/lables"]);
    assert!(findings.iter().all(|f| f["line"] == 1), "{refused:#}");
    let live = all(&millrace, "/api/deployments?").await;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0]["version"], 1);

    let file = data.path().join("workflow.yaml");
    std::fs::write(&file, DOCUMENT).unwrap();
    let server = millrace.url("");
    let arguments = ["plan", file.to_str().unwrap(), "--server", &server];
    let output = command(&arguments, &[]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("update: a new version"), "{said}");
    assert!(said.contains("- /triggers/n"), "{said}");
}

#[tokio::test]
async fn a_backfill_starts_what_did_not_run_and_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let mut slow = every_second("tick");
    slow["cron"] = "0 * * * * *".into();
    slow["catchUpRate"] = 10.into();
    let trigger = deploy(&millrace, &json!([slow])).await.remove(0);
    // Whole minutes of the past hour, which lie before the deployment.
    let second = jiff::SignedDuration::from_secs(1);
    let to = jiff::Timestamp::now() - second * 120;
    let from = to - second * 3600;
    let body = json!({"from": from.to_string(), "to": to.to_string()});
    let path = format!("/api/triggers/{trigger}/backfill");
    let (status, begun) = millrace.post(&path, &body).await;
    assert_eq!(status, 202, "{begun:#}");
    assert_eq!(begun["occurrences"], 60, "{begun:#}");
    let (status, busy) = millrace.post(&path, &body).await;
    assert_eq!(status, 409, "{busy:#}");
    let backfilled = |fires: &[Value]| fires.iter().filter(|f| f["backfilled"] == true).count();
    eventually(PATIENCE, || async {
        let fires = ledger(&millrace, &trigger).await;
        let done = backfilled(&fires);
        if done >= 5 { Ok(()) } else { Err(done) }
    })
    .await;
    millrace.kill().await;

    let millrace = Millrace::dev(data.path()).await;
    let fires = eventually(PATIENCE, || async {
        let fires = ledger(&millrace, &trigger).await;
        if backfilled(&fires) == 60 {
            Ok(fires)
        } else {
            Err(backfilled(&fires))
        }
    })
    .await;
    let mut distinct: Vec<_> = fires.iter().map(|f| f["nominalAt"].to_string()).collect();
    distinct.dedup();
    assert_eq!(distinct.len(), fires.len());
    let executions: Vec<_> = fires
        .iter()
        .filter_map(|fire| fire["executionId"].as_str().map(str::to_owned))
        .collect();
    let last = millrace.until(&executions[0], &["SUCCEEDED"]).await;
    assert_eq!(last["input"]["trigger"]["backfilled"], true, "{last:#}");
    assert_one_run_each(&millrace, "cron", executions).await;

    // Once more: all of it has run.
    let (status, begun) = eventually(PATIENCE, || async {
        match millrace.post(&path, &body).await {
            (409, busy) => Err(busy),
            answer => Ok(answer),
        }
    })
    .await;
    assert_eq!(status, 202, "{begun:#}");
    eventually(PATIENCE, || async {
        match millrace.post(&path, &body).await {
            (409, busy) => Err(busy),
            answer => Ok(answer),
        }
    })
    .await;
    assert_eq!(backfilled(&ledger(&millrace, &trigger).await), 60);

    for (from, to, pointer) in [
        ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", "/from"),
        ("2020-01-02T00:00:00Z", "2020-01-01T00:00:00Z", "/to"),
        ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "/to"),
        ("yesterday", "2020-01-01T00:00:00Z", "/from"),
    ] {
        let body = json!({"from": from, "to": to});
        let (status, problem) = millrace.post(&path, &body).await;
        assert_eq!(status, 400, "{problem:#}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_scheduler_stays_stopped_on_all_instances_until_it_is_started() {
    let database = TestDatabase::create().await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let admins = [(); 2].map(|()| format!("127.0.0.1:{}", millrace_testkit::free_port()));
    let start = async |admin: &str| {
        let arguments = [
            "runtime",
            "--ready-json",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            admin,
        ];
        Millrace::start(&arguments, &settings).await
    };
    let (first, second) = (start(&admins[0]).await, start(&admins[1]).await);
    let addresses = [&first, &second].map(|r| format!("http://{}", r.address("runtime")));
    let addresses = addresses.join(",");
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    let of_gateway = [("MILLRACE_GATEWAY__RUNTIME", addresses.as_str())];
    let gateway = Millrace::start(&arguments, &of_gateway).await;
    let trigger = deploy(&gateway, &json!([every_second("tick")]))
        .await
        .remove(0);
    until_fired(&gateway, &trigger, 2).await;

    let client = support::client();
    let url = |admin: &str, verb: &str| format!("http://{admin}/admin/scheduler{verb}");
    let tell = async |admin: &str, verb: &str| {
        let body = json!({"reason": "upkeep"});
        support::answer(support::post_json(&client, &url(admin, verb), &body)).await
    };
    let state = async |admin: &str| {
        let (status, state) = support::answer(client.get(url(admin, ""))).await;
        assert_eq!(status, 200, "{state:#}");
        state
    };
    let (status, stopped) = tell(&admins[0], "/stop").await;
    assert_eq!(status, 200, "{stopped:#}");
    assert_eq!(
        (&stopped["state"], &stopped["reason"]),
        (&json!("stopped"), &json!("upkeep"))
    );
    // The other instance obeys as well.
    eventually(PATIENCE, || async {
        let state = state(&admins[1]).await;
        let obeys = state["state"] == "stopped" && state["instance"]["state"] == "stopped";
        if obeys { Ok(()) } else { Err(state) }
    })
    .await;
    let so_far = ledger(&gateway, &trigger).await;
    let (_, figures) = gateway.get("/api/monitoring/scheduling").await;
    assert_eq!(figures["scheduler"]["state"], "stopped", "{figures:#}");
    assert_eq!(figures["scheduler"]["reason"], "upkeep");
    assert_eq!(figures["scheduler"]["since"], stopped["since"]);
    let metrics = async || {
        let url = format!("http://{}/metrics", admins[1]);
        let (_, metrics) = support::answer(client.get(url)).await;
        metrics.as_str().unwrap().to_owned()
    };
    let shown = metrics().await;
    assert!(shown.contains("millrace_scheduler_running 0\n"), "{shown}");
    // That is a decision, not a fault.
    let (_, health) = gateway.get("/health").await;
    let mut members: Vec<_> = health.as_object().unwrap().keys().collect();
    members.sort_unstable();
    assert_eq!(members, ["dependencies", "status", "timestamp", "version"]);
    assert_ne!(health["status"], "unhealthy", "{health:#}");
    // A restart of the process does not forget it.
    assert!(first.terminate().await.success());
    let first = start(&admins[0]).await;
    let passes = async || {
        state(&admins[0]).await["instance"]["passes"]
            .as_u64()
            .unwrap()
    };
    let before = passes().await;
    eventually(PATIENCE, || async {
        let now = passes().await;
        if now >= before + 3 { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(ledger(&gateway, &trigger).await, so_far);
    assert_eq!(tell(&admins[1], "/dance").await.0, 404);

    let (status, started) = tell(&admins[1], "/start").await;
    assert_eq!((status, &started["state"]), (200, &json!("running")));
    let fired = so_far.iter().filter(|f| f["outcome"] == "fired").count();
    let fires = until_fired(&gateway, &trigger, fired + 3).await;
    assert_gapless(&fires);
    let shown = metrics().await;
    assert!(shown.contains("millrace_scheduler_running 1\n"), "{shown}");
    let (status, restarted) = tell(&admins[1], "/restart").await;
    assert_eq!(status, 200, "{restarted:#}");
    assert!(restarted["generation"].as_u64() > started["generation"].as_u64());
    until_fired(&gateway, &trigger, fired + 6).await;
    drop((first, second));
}
