//! A deployment through its versions: changed, rolled back, deleted.

mod support;

use millrace_testkit::eventually;
use millrace_testkit::sqlx::{self, AssertSqlSafe, Connection as _, SqliteConnection};
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, answer, client};

fn document(value: u32) -> String {
    format!(
        "document: {{dsl: '1.0.3', namespace: default, name: cycle, version: '{value}.0.0'}}\n\
         do:\n  - say: {{set: {{value: {value}}}}}\n"
    )
}

async fn patch(millrace: &Millrace, id: &str, body: &Value) -> (u16, Value) {
    let request = client()
        .patch(millrace.url(&format!("/api/deployments/{id}")))
        .header("content-type", "application/merge-patch+json")
        .body(body.to_string());
    answer(request).await
}

async fn output(millrace: &Millrace, webhook: &str) -> Value {
    let id = millrace.fire(webhook, &json!({})).await;
    millrace.until(&id, &["SUCCEEDED", "FAILED"]).await["output"]["value"].clone()
}

#[tokio::test]
async fn a_deployment_is_changed_rolled_back_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let first = millrace.deploy(&document(1), "one").await;
    let id = first["id"].as_str().unwrap().to_owned();
    let first_run = millrace.fire("one", &json!({})).await;
    millrace.until(&first_run, &["SUCCEEDED"]).await;
    assert_eq!(millrace.deploy(&document(2), "two").await["version"], 2);
    assert_eq!(output(&millrace, "two").await, 2);
    let (status, _) = millrace.post("/webhooks/one", &json!({})).await;
    assert_eq!(status, 404);

    // Back, with the trigger of then.
    let rollback = format!("/api/deployments/{id}/rollback");
    for _ in 0..2 {
        let (status, back) = millrace.post(&rollback, &json!({"version": 1})).await;
        assert_eq!((status, &back["version"]), (200, &json!(1)), "{back:#}");
        assert_eq!(back["triggers"][0]["path"], "one");
    }
    assert_eq!(output(&millrace, "one").await, 1);
    let (status, problem) = millrace.post(&rollback, &json!({"version": 9})).await;
    assert_eq!(status, 404, "{problem:#}");

    // A change of the settings alone, then of the document alone.
    let labelled = json!({"config": {"labels": {"team": "shop"}}});
    let (status, third) = patch(&millrace, &id, &labelled).await;
    assert_eq!((status, &third["version"]), (200, &json!(3)), "{third:#}");
    assert_eq!(third["config"]["labels"]["team"], "shop");
    assert_eq!(third["triggers"], first["triggers"]);
    let (status, same) = patch(&millrace, &id, &labelled).await;
    assert_eq!((status, &same["version"]), (200, &json!(3)), "{same:#}");
    let said = json!({"workflow": {"do": [{"say": {"set": {"value": 4}}}]}});
    let (status, fourth) = patch(&millrace, &id, &said).await;
    assert_eq!((status, &fourth["version"]), (200, &json!(4)), "{fourth:#}");
    assert_eq!(fourth["config"]["labels"]["team"], "shop");
    assert_eq!(output(&millrace, "one").await, 4);

    // What is wrong changes nothing.
    for (wrong, pointer) in [
        (
            json!({"workflow": {"document": {"name": "other"}}}),
            "/workflow/document",
        ),
        (
            json!({"triggers": [{"type": "nosuch"}]}),
            "/triggers/0/type",
        ),
        (json!({"status": "PAUSED"}), "/status"),
    ] {
        let (status, problem) = patch(&millrace, &id, &wrong).await;
        assert_eq!(status, 400, "{problem:#}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }

    let (_, versions) = millrace
        .get(&format!("/api/deployments/{id}/versions"))
        .await;
    let listed: Vec<_> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["version"].as_u64().unwrap(), v["live"] == true))
        .collect();
    assert_eq!(listed, [(4, true), (3, false), (2, false), (1, false)]);

    // Deleted, twice: the path is free, history is there.
    let url = millrace.url(&format!("/api/deployments/{id}"));
    for _ in 0..2 {
        let (status, body) = answer(client().delete(&url)).await;
        assert_eq!((status, body), (204, Value::String(String::new())));
    }
    let (status, _) = millrace.post("/webhooks/one", &json!({})).await;
    assert_eq!(status, 404);
    let (_, gone) = millrace.get(&format!("/api/deployments/{id}")).await;
    assert_eq!(gone["status"], "ARCHIVED");
    let (status, problem) = millrace.post(&rollback, &json!({"version": 1})).await;
    assert_eq!(status, 409, "{problem:#}");
    assert_eq!(patch(&millrace, &id, &labelled).await.0, 409);
    assert!(!millrace.history(&first_run).await.is_empty());
    let other = document(7).replace("name: cycle", "name: successor");
    millrace.deploy(&other, "one").await;
    assert_eq!(output(&millrace, "one").await, 7);
}

/// More than a process may have let go in one of its former runs, every ten
/// minutes.
const OLD: u32 = 30_000;

#[tokio::test]
async fn what_is_past_its_retention_goes_soon_after_the_start() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace.deploy(&document(1), "one").await;
    let run = millrace.fire("one", &json!({})).await;
    millrace.until(&run, &["SUCCEEDED"]).await;
    assert!(millrace.terminate().await.success());

    let file = format!("sqlite://{}/millrace.db", data.path().display());
    let mut database = SqliteConnection::connect(&file).await.unwrap();
    let mut columns: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM pragma_table_info('executions_ended') \
         WHERE name NOT IN ('id', 'ended_day')",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    columns.sort();
    let columns = columns.join(", ");
    let statement = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OLD}) \
         INSERT INTO executions_ended (id, ended_day, {columns}) \
         SELECT 'old_' || i, 1, {columns} FROM executions_ended, n"
    );
    let made = sqlx::query(AssertSqlSafe(statement))
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(made.rows_affected(), u64::from(OLD));
    database.close().await.unwrap();

    let millrace = Millrace::dev(data.path()).await;
    let mut database = SqliteConnection::connect(&file).await.unwrap();
    let database = tokio::sync::Mutex::new(&mut database);
    eventually(PATIENCE, || async {
        let mut database = database.lock().await;
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM executions_ended")
            .fetch_one(&mut **database)
            .await
            .unwrap();
        if left == 1 { Ok(()) } else { Err(left) }
    })
    .await;
    millrace.until(&run, &["SUCCEEDED"]).await;
}

fn places(findings: &Value) -> Vec<&str> {
    let findings = findings.as_array().expect("findings");
    let places = findings.iter().map(|found| found["pointer"].as_str());
    places.map(|place| place.expect("a pointer")).collect()
}

#[tokio::test]
async fn all_that_is_wrong_with_a_deployment_is_said_at_once() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let holder = json!({"workflow": document(1), "triggers": [
        {"type": "webhook", "path": "a"}, {"type": "webhook", "path": "b/{id}"},
    ]});
    let (status, holder) = millrace.post("/api/deployments", &holder).await;
    assert_eq!(status, 201, "{holder:#}");

    let other = |task: &str| {
        format!(
            "document: {{dsl: 1.0.3, namespace: default, name: other, version: 1.0.0}}\n\
             do:\n- it: {task}\n"
        )
    };
    let taken = [
        json!({"type": "webhook", "path": "a"}),
        json!({"type": "webhook", "path": "free"}),
        json!({"type": "webhook", "path": "b/{order}"}),
    ];
    let mut triggers = vec![
        json!({"type": "once", "at": "2020-01-01T00:00:00Z"}),
        json!({"type": "nosuch"}),
    ];
    triggers.extend(taken.clone());
    let faulty = json!({
        "workflow": other("{sett: {}}"), "triggers": triggers, "config": {"priority": "high"},
    });
    let expected = [
        "/triggers/1/type",
        "/config/priority",
        "/triggers/0/at",
        "/triggers/2/path",
        "/triggers/4/path",
    ];
    let (status, problem) = millrace.post("/api/deployments", &faulty).await;
    assert_eq!(status, 400, "{problem:#}");
    let said = places(&problem["errors"]);
    let (document, rest) = said.split_at(said.len() - expected.len());
    assert!(!document.is_empty(), "{problem:#}");
    for place in document {
        assert!(place.starts_with("/workflow/do/0/it"), "{problem:#}");
    }
    assert_eq!(rest, expected, "{problem:#}");
    let (status, plan) = millrace.post("/api/deployments/plan", &faulty).await;
    assert_eq!(status, 200, "{plan:#}");
    assert_eq!(places(&plan["diagnostics"]), said, "{plan:#}");

    // Nothing but paths that are taken: all of them, as a conflict.
    let clashing = json!({"workflow": other("{set: {a: 1}}"), "triggers": taken});
    let (status, problem) = millrace.post("/api/deployments", &clashing).await;
    assert_eq!(
        (status, &problem["reason"]),
        (409, &json!("path-taken")),
        "{problem:#}"
    );
    assert_eq!(
        places(&problem["errors"]),
        ["/triggers/0/path", "/triggers/2/path"]
    );
    let (_, list) = millrace.get("/api/deployments").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list:#}");
}
