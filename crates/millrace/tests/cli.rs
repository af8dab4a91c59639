//! The client's verbs, run as a user runs them. The server they talk to is a
//! stub in this file that stands for a gateway: it gives the answers that a
//! test names, and keeps what it was asked.

use std::collections::HashMap;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

#[derive(Clone, Default)]
struct Stub {
    /// By method and path with query.
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    /// The header of each request that says who asks.
    shown: Arc<Mutex<Vec<Option<String>>>>,
}

impl Stub {
    fn answer(&self, request: &str, status: u16, body: &impl ToString) {
        self.answers
            .lock()
            .unwrap()
            .insert(request.into(), (status, body.to_string()));
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

async fn handle(
    State(stub): State<Stub>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let request = format!("{method} {uri}");
    let body = String::from_utf8(body.into()).unwrap();
    let shown = headers.get("authorization");
    let shown = shown.map(|value| value.to_str().unwrap().to_owned());
    stub.shown.lock().unwrap().push(shown);
    stub.asked.lock().unwrap().push((request.clone(), body));
    let (status, text) = stub
        .answers
        .lock()
        .unwrap()
        .get(&request)
        .cloned()
        .unwrap_or((
            404,
            json!({"title": "Not found", "status": 404, "detail": "the stub knows no such thing"})
                .to_string(),
        ));
    (StatusCode::from_u16(status).unwrap(), text)
}

/// A stub and its address. It lives as long as the test's runtime.
async fn stub() -> (Stub, String) {
    let stub = Stub::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(handle).with_state(stub.clone());
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (stub, address)
}

fn command(server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .args(arguments)
        .env("MILLRACE_SERVER", server)
        .kill_on_drop(true);
    command
}

async fn millrace(server: &str, arguments: &[&str]) -> Output {
    command(server, arguments).output().await.unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

const ID: &str = "dep_01hzy3w5rge2x9jqmt6a8v4bkn";

fn orders(stub: &Stub) {
    let deployment = json!({"id": ID, "name": "orders", "namespace": "shop", "version": 3,
        "status": "DEPLOYED", "deployedAt": "2026-12-01T09:00:00.123456Z",
        "triggers": [{"id": "trg_1", "type": "webhook", "path": "orders/{region}"}]});
    let list = json!({"items": [deployment], "next": null});
    stub.answer("GET /api/deployments?name=orders", 200, &list);
    stub.answer("GET /api/deployments?limit=50", 200, &list);
    stub.answer("POST /api/deployments", 201, &deployment);
}

#[tokio::test]
async fn deploy_sends_the_text_of_the_file_with_its_triggers() {
    let (stub, server) = stub().await;
    orders(&stub);
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "document:\n  name: \"orders\" # kept\n";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = [
        "deploy",
        path,
        "--webhook",
        "orders/{region}",
        "--cron",
        "0 2 * * *",
    ];
    let output = millrace(&server, &arguments).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        format!(
            "orders version 3 is DEPLOYED ({ID})\n  webhook  {server}/webhooks/orders/%7Bregion%7D\n"
        )
    );
    let (request, body) = &stub.asked()[0];
    assert_eq!(request, "POST /api/deployments");
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({"workflow": text, "triggers": [
            {"type": "webhook", "path": "orders/{region}"},
            {"type": "cron", "cron": "0 2 * * *"},
        ]})
    );
}

/// A well-formed key that nobody has.
const KEY: &str = "mlr_01hzy3w5rge2x9jqmt6a8v4bkn_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn an_api_key_goes_with_every_request_and_is_never_shown() {
    let (stub, server) = stub().await;
    orders(&stub);
    let with_variable = |arguments: &[&str]| {
        let mut command = command(&server, arguments);
        command.env("MILLRACE_API_KEY", KEY);
        command
    };
    let verbs: [&[&str]; 2] = [&["deployments"], &["execution", ID, "--watch"]];
    let mut printed = String::new();
    for verb in verbs {
        let by_variable = with_variable(verb).output().await.unwrap();
        let by_flag = millrace(&server, &[verb, &["--api-key", KEY]].concat()).await;
        for output in [by_variable, by_flag] {
            printed += stdout(&output);
            printed += stderr(&output);
        }
    }
    let help = with_variable(&["deployments", "--help"]).output().await;
    printed += stdout(&help.unwrap());
    assert!(printed.contains("--api-key"), "{printed}");
    let secret = &KEY[KEY.len() - 43..];
    assert!(!printed.contains(secret), "{printed}");
    let bearer = Some(format!("Bearer {KEY}"));
    assert_eq!(
        *stub.shown.lock().unwrap(),
        [bearer.clone(), bearer.clone(), bearer.clone(), bearer]
    );

    // Set to nothing is not set.
    let mut empty = command(&server, &["deployments"]);
    let empty = empty.env("MILLRACE_API_KEY", "").output().await.unwrap();
    assert_eq!(code(&empty), 0, "{}", stderr(&empty));
    assert_eq!(stub.shown.lock().unwrap().last(), Some(&None));

    // What cannot be one is not sent anywhere.
    let asked = stub.asked().len();
    let wrong = &KEY[..KEY.len() - 1];
    let refused = millrace(&server, &["deployments", "--api-key", wrong]).await;
    assert_eq!((code(&refused), stub.asked().len()), (2, asked));
    let said = stderr(&refused);
    assert!(
        said.contains("is not an API key") && !said.contains(&secret[..42]),
        "{said}"
    );
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_do() {
    let (stub, server) = stub().await;
    let list = "GET /api/deployments?limit=50";
    for (status, arguments, expected) in [
        (
            401,
            &["deployments"][..],
            "Show an API key, in MILLRACE_API_KEY or with --api-key.",
        ),
        (
            401,
            &["deployments", "--api-key", KEY],
            "`millrace keys list` shows which",
        ),
        (
            403,
            &["deployments", "--api-key", KEY],
            "`millrace keys create --role …`",
        ),
    ] {
        let problem = json!({"title": "No", "status": status, "detail": "you may not"});
        stub.answer(list, status, &problem);
        let output = millrace(&server, arguments).await;
        assert_eq!(code(&output), 1);
        let said = stderr(&output);
        let first = format!("millrace: No: you may not ({status})\n");
        assert!(
            said.starts_with(&first) && said.contains(expected),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_refused_document_is_shown_with_its_places() {
    let (stub, server) = stub().await;
    let problem = json!({"type": "about:blank", "title": "Invalid", "status": 400,
        "detail": "the workflow has 1 error",
        "errors": [{"pointer": "/do/0", "line": 7, "column": 3, "message": "unknown key `thne`"}]});
    stub.answer("POST /api/deployments", 400, &problem);
    let mut child = command(&server, &["deploy", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"document: {}\n").await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(code(&output), 1);
    assert_eq!(
        stderr(&output),
        "millrace: Invalid: the workflow has 1 error (400)\n-:7:3 /do/0 unknown key `thne`\n"
    );
    assert_eq!(stdout(&output), "");
}

#[tokio::test]
async fn trigger_sends_the_input_byte_for_byte() {
    let (stub, server) = stub().await;
    orders(&stub);
    let request = format!("POST /api/deployments/{ID}/trigger");
    stub.answer(
        &request,
        202,
        &json!({"executionId": "exe_1", "status": "PENDING"}),
    );
    let input = r#"{"z": 123456789012345678901234567890, "a":1.0}"#;
    let output = millrace(&server, &["trigger", "orders", "--input", input]).await;
    assert_eq!(
        (code(&output), stdout(&output)),
        (0, "exe_1 PENDING\n"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stub.asked()[1], (request.clone(), input.to_owned()));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let at_file = format!("@{}", file.path().display());
    // An id is taken as it is.
    let output = millrace(&server, &["trigger", ID, "--json", "--input", &at_file]).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "{\"executionId\":\"exe_1\",\"status\":\"PENDING\"}\n"
    );
    assert_eq!(stub.asked()[2..], [(request, input.to_owned())]);
}

#[tokio::test]
async fn waiting_fails_unless_the_execution_succeeded() {
    let (stub, server) = stub().await;
    orders(&stub);
    let request = format!("POST /api/deployments/{ID}/trigger?wait=60s");
    let ended = |status| {
        json!({"id": "exe_1", "deploymentId": ID, "status": status, "output": {"total": 7},
            "startedAt": "2026-12-01T09:00:00Z", "endedAt": "2026-12-01T09:00:00.25Z"})
    };
    let still = json!({"executionId": "exe_1", "status": "RUNNING"});
    for (status, answer, expected, shown) in [
        (200, ended("SUCCEEDED"), 0, "exe_1 SUCCEEDED\n"),
        (200, ended("FAILED"), 1, "exe_1 FAILED\n"),
        (202, still, 1, "exe_1 RUNNING, not ended yet\n"),
    ] {
        stub.answer(&request, status, &answer);
        let output = millrace(&server, &["trigger", "orders", "--wait"]).await;
        assert_eq!(code(&output), expected, "{shown}");
        assert!(stdout(&output).starts_with(shown), "{}", stdout(&output));
        assert_eq!(stderr(&output), "");
        if status == 200 {
            assert!(
                stdout(&output).contains("  output     {\"total\":7}\n"),
                "{}",
                stdout(&output)
            );
            assert!(
                stdout(&output).contains("  took       250 ms\n"),
                "{}",
                stdout(&output)
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_name_is_an_error_and_triggers_nothing() {
    let (stub, server) = stub().await;
    stub.answer(
        "GET /api/deployments?name=nobody",
        200,
        &json!({"items": [], "next": null}),
    );
    let output = millrace(&server, &["trigger", "nobody"]).await;
    assert_eq!(code(&output), 1);
    assert_eq!(
        stderr(&output),
        "millrace: there is no deployment named `nobody`\n"
    );
    assert_eq!(stub.asked().len(), 1);
}

#[tokio::test]
async fn lists_are_tables_or_the_servers_own_json() {
    let (stub, server) = stub().await;
    orders(&stub);
    let output = millrace(&server, &["deployments"]).await;
    assert_eq!(
        stdout(&output)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect::<Vec<_>>(),
        [
            vec![
                "ID",
                "NAMESPACE",
                "NAME",
                "VERSION",
                "STATUS",
                "DEPLOYED",
                "TRIGGERS"
            ],
            vec![
                ID,
                "shop",
                "orders",
                "3",
                "DEPLOYED",
                "2026-12-01T09:00:00Z",
                "webhook",
                "orders/{region}"
            ],
        ]
    );
    let output = millrace(&server, &["deployments", "--json"]).await;
    let list: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(list["items"][0]["name"], "orders");

    let execution = json!({"id": "exe_1", "deploymentId": ID, "version": 3, "status": "FAILED",
        "trigger": {"type": "webhook", "id": "trg_1"}, "createdAt": "2026-12-01T09:00:00Z"});
    stub.answer(
        &format!("GET /api/executions?deploymentId={ID}&status=FAILED&limit=2"),
        200,
        &json!({"items": [execution], "next": "more"}),
    );
    let arguments = ["executions", "orders", "--status", "FAILED", "--limit", "2"];
    let output = millrace(&server, &arguments).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let row: Vec<&str> = stdout(&output)
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        row,
        [
            "exe_1",
            ID,
            "3",
            "FAILED",
            "webhook",
            "2026-12-01T09:00:00Z",
            "-"
        ]
    );
    assert_eq!(stderr(&output), "there are more: --cursor more\n");
}

#[tokio::test]
async fn an_execution_is_shown_with_its_history() {
    let (stub, server) = stub().await;
    let execution = json!({"id": "exe_1", "deploymentId": ID, "status": "FAILED",
        "error": {"title": "bad \u{1b}[2J"}, "output": null});
    stub.answer("GET /api/executions/exe_1", 200, &execution);
    let event = json!({"seq": 1, "at": "2026-12-01T09:00:00.5Z", "kind": "taskFailed",
        "task": "/do/0/price", "attempt": 2});
    stub.answer(
        "GET /api/executions/exe_1/history?limit=1000",
        200,
        &json!({"items": [event], "next": null}),
    );
    let output = millrace(&server, &["execution", "exe_1"]).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("exe_1 FAILED\n"), "{text}");
    assert!(!text.contains("output"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "nothing drives the terminal: {text}"
    );
    let row: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        [
            "1",
            "2026-12-01T09:00:00.5Z",
            "taskFailed",
            "2",
            "/do/0/price"
        ]
    );

    let output = millrace(&server, &["execution", "exe_2"]).await;
    assert_eq!(code(&output), 1);
    assert_eq!(
        stderr(&output),
        "millrace: Not found: the stub knows no such thing (404)\n"
    );
}

#[tokio::test]
async fn wrong_calls_end_with_two_and_ask_nothing() {
    let (stub, server) = stub().await;
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["trigger"],
        &["trigger", "orders", "--input", "{not json"],
        &["trigger", "orders", "--input", "@/nowhere/input.json"],
        &["deploy", "/nowhere/workflow.yaml"],
        &["executions", "--limit", "0"],
        &["deployments", "--server", "ftp://127.0.0.1"],
        &["deployments", "--server", "not a url"],
    ] {
        let output = millrace(&server, arguments).await;
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_or_not_ours_is_said_so() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let output = millrace(&format!("http://{gone}"), &["deployments"]).await;
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("no answer from http://127.0.0.1"),
        "{}",
        stderr(&output)
    );

    let (stub, server) = stub().await;
    stub.answer("GET /api/deployments?limit=50", 200, &"<html>");
    let output = millrace(&server, &["deployments"]).await;
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("does not answer as a Millrace server"),
        "{}",
        stderr(&output)
    );
}

const EXE: &str = "exe_01hzy3w5rge2x9jqmt6a8v4bkn";
const TRG: &str = "trg_01hzy3w5rge2x9jqmt6a8v4bkn";

#[tokio::test]
async fn an_execution_is_cancelled_and_run_again() {
    let (stub, server) = stub().await;
    let execution = |status: &str| json!({"id": EXE, "status": status});
    let cancel = format!("POST /api/executions/{EXE}/cancel");
    stub.answer(&cancel, 202, &execution("RUNNING"));
    let output = millrace(&server, &["cancel", EXE, "--reason", "enough"]).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        format!("{EXE} RUNNING, its owner has been asked to end it\n")
    );
    stub.answer(&cancel, 200, &execution("CANCELLED"));
    let output = millrace(&server, &["cancel", EXE]).await;
    assert_eq!(stdout(&output), format!("{EXE} CANCELLED\n"));
    let rerun = format!("POST /api/executions/{EXE}/rerun");
    stub.answer(&rerun, 202, &json!({"executionId": "exe_new"}));
    let output = millrace(&server, &["rerun", EXE]).await;
    assert_eq!(stdout(&output), format!("exe_new rerun of {EXE}\n"));
    assert_eq!(
        stub.asked(),
        [
            (cancel.clone(), r#"{"reason":"enough"}"#.to_owned()),
            (cancel, "{}".to_owned()),
            (rerun, r#"{"from":"start"}"#.to_owned()),
        ]
    );
}

#[tokio::test]
async fn a_deployment_is_named_and_paused_rolled_back_and_deleted() {
    let (stub, server) = stub().await;
    orders(&stub);
    let now = |status: &str| json!({"id": ID, "name": "orders", "version": 2, "status": status});
    for (verb, arguments, status) in [
        ("pause", &["pause", "orders"][..], "PAUSED"),
        ("resume", &["resume", "orders"], "DEPLOYED"),
        ("rollback", &["rollback", "orders", "2"], "DEPLOYED"),
    ] {
        let request = format!("POST /api/deployments/{ID}/{verb}");
        stub.answer(&request, 200, &now(status));
        let output = millrace(&server, arguments).await;
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let line = format!("orders version 2 is {status} ({ID})\n");
        assert_eq!(stdout(&output), line);
    }
    let (_, body) = stub.asked().pop().unwrap();
    assert_eq!(body, r#"{"version":2}"#);
    let output = millrace(&server, &["rollback", "orders", "0"]).await;
    assert_eq!(code(&output), 2);

    stub.answer(&format!("DELETE /api/deployments/{ID}"), 204, &"");
    let output = millrace(&server, &["delete", "orders"]).await;
    assert_eq!(stdout(&output), format!("orders is archived ({ID})\n"));
    let output = millrace(&server, &["delete", "orders", "--json"]).await;
    assert_eq!((stdout(&output), code(&output)), ("", 0));
    let output = millrace(&server, &["delete", "unknown"]).await;
    assert_eq!(code(&output), 1);
}

#[tokio::test]
async fn versions_are_listed_and_the_live_one_marked() {
    let (stub, server) = stub().await;
    let version = |n: u32, live: bool| json!({"version": n, "workflowVersion": "1.0.0", "digest": "ab", "createdAt": "2026-12-01T09:00:00.5Z", "live": live});
    let list = json!({"items": [version(2, true), version(1, false)], "next": null});
    let request = format!("GET /api/deployments/{ID}/versions?limit=50");
    stub.answer(&request, 200, &list);
    let output = millrace(&server, &["versions", ID]).await;
    assert_eq!(
        stdout(&output),
        "VERSION  LIVE  DOCUMENT  CREATED               DIGEST\n\
         2        live  1.0.0     2026-12-01T09:00:00Z  ab\n\
         1        -     1.0.0     2026-12-01T09:00:00Z  ab\n"
    );
}

#[tokio::test]
async fn the_schedule_of_a_deployment_is_found_by_its_name() {
    let (stub, server) = stub().await;
    orders(&stub);
    let schedule = |id: &str| json!({"id": id, "type": "cron", "cron": "0 2 * * *"});
    let with = |triggers: Value| json!({"id": ID, "name": "orders", "triggers": triggers});
    let deployment = format!("GET /api/deployments/{ID}");
    let webhook = json!({"id": "trg_1", "type": "webhook", "path": "orders"});
    stub.answer(&deployment, 200, &with(json!([webhook, schedule(TRG)])));
    let fire = json!({"triggerId": TRG, "nominalAt": "2026-12-01T02:00:00Z",
        "untilAt": "2026-12-01T02:00:00Z", "count": 1, "effectiveAt": "2026-12-01T02:01:07Z",
        "outcome": "missed", "reason": "nobody was there", "executionId": null});
    let list = json!({"items": [fire], "next": null});
    let fires = format!("GET /api/triggers/{TRG}/fires?from=2026-12-01T00%3A00%3A00Z&limit=50");
    stub.answer(&fires, 200, &list);
    stub.answer(
        &format!("GET /api/triggers/{TRG}/preview?count=3"),
        200,
        &list,
    );
    let table = "NOMINAL               EFFECTIVE             COUNT  OUTCOME  EXECUTION  REASON\n\
                 2026-12-01T02:00:00Z  2026-12-01T02:01:07Z  1      missed   -          nobody was there\n";
    let output = millrace(
        &server,
        &["fires", "orders", "--from", "2026-12-01T00:00:00Z"],
    )
    .await;
    assert_eq!(stdout(&output), table, "{}", stderr(&output));
    let output = millrace(&server, &["preview", TRG, "--count", "3"]).await;
    assert_eq!(stdout(&output), table, "{}", stderr(&output));
    let output = millrace(&server, &["preview", TRG, "--count", "3", "--json"]).await;
    assert_eq!(stdout(&output), format!("{list}\n"));

    stub.answer(
        &deployment,
        200,
        &with(json!([schedule(TRG), schedule("trg_2")])),
    );
    let output = millrace(&server, &["fires", "orders"]).await;
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("several schedules"),
        "{}",
        stderr(&output)
    );
    stub.answer(&deployment, 200, &with(json!([webhook])));
    let output = millrace(&server, &["preview", "orders"]).await;
    assert!(
        stderr(&output).contains("has no schedule"),
        "{}",
        stderr(&output)
    );
}

const PROJECT: &str = "prj_01hzy3w5rge2x9jqmt6a8v4bkn";
const WORKLOAD: &str = "wkl_01hzy3w5rge2x9jqmt6a8v4bkn";

/// A project TODO with a service `tasks`, which may have a workload.
fn todo(stub: &Stub, deployed: bool) -> Value {
    let project = json!({"id": PROJECT, "key": "TODO", "name": "Todo", "localPath": "/srv/todo",
        "createdAt": "2026-12-01T09:00:00Z"});
    let workload = json!({"id": WORKLOAD, "projectId": PROJECT, "projectKey": "TODO",
        "service": "tasks", "stage": "running", "health": "ready", "port": 3100, "restarts": 2,
        "error": null, "instances": []});
    let workloads = if deployed {
        vec![workload.clone()]
    } else {
        vec![]
    };
    stub.answer(
        "GET /api/projects?limit=1000",
        200,
        &json!({"items": [project], "next": null}),
    );
    stub.answer(
        &format!("GET /api/workloads?projectId={PROJECT}&limit=1000"),
        200,
        &json!({"items": workloads, "next": null}),
    );
    workload
}

#[tokio::test]
async fn starting_a_service_makes_the_workload_that_is_missing_and_waits_for_it() {
    let (stub, server) = stub().await;
    let workload = todo(&stub, false);
    stub.answer("POST /api/workloads", 201, &workload);
    let start = format!("POST /api/workloads/{WORKLOAD}/start?wait=60s");
    stub.answer(&start, 200, &workload);
    let output = millrace(&server, &["start", "TODO/tasks", "--wait"]).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).contains("TODO/tasks"),
        "{}",
        stdout(&output)
    );
    let asked = stub.asked();
    let (made, body) = &asked[asked.len() - 2];
    assert_eq!(made, "POST /api/workloads");
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({"projectId": PROJECT, "service": "tasks"})
    );
    let mut failed = workload;
    failed["stage"] = json!("failed");
    failed["error"] = json!({"reason": "node-missing", "message": "no Node"});
    stub.answer(&start, 200, &failed);
    let output = millrace(&server, &["start", WORKLOAD, "--wait"]).await;
    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("node-missing: no Node"),
        "{}",
        stdout(&output)
    );
}

#[tokio::test]
async fn what_has_no_workload_or_no_project_is_named() {
    let (stub, server) = stub().await;
    todo(&stub, false);
    for (name, said, exit) in [
        ("TODO/tasks", "no workload of `TODO/tasks`", 1),
        ("HOME/tasks", "no project with the key `HOME`", 1),
        ("tasks", "neither a workload's id nor PROJECT/SERVICE", 2),
    ] {
        let output = millrace(&server, &["workload", name]).await;
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert_eq!(code(&output), exit, "{name}");
    }
}

#[tokio::test]
async fn the_last_lines_of_a_log_are_shown_and_followed() {
    let (stub, server) = stub().await;
    todo(&stub, true);
    let line = |seq: u64| {
        json!({"seq": seq, "at": "2026-12-01T09:00:00Z", "stream": "stdout",
        "line": format!("line {seq}\u{1b}[2J")})
    };
    let logs = format!("/api/workloads/{WORKLOAD}/logs");
    stub.answer(
        &format!("GET {logs}?after=0&limit=1000"),
        200,
        &json!({"items": [line(1), line(2)], "next": 2}),
    );
    stub.answer(
        &format!("GET {logs}?after=2&limit=1000"),
        200,
        &json!({"items": [line(3)], "next": null}),
    );
    let output = millrace(&server, &["logs", "TODO/tasks", "--tail", "2"]).await;
    let shown = "2026-12-01T09:00:00Z stdout line 2\u{fffd}[2J\n2026-12-01T09:00:00Z stdout line 3\u{fffd}[2J\n";
    assert_eq!(stdout(&output), shown, "{}", stderr(&output));
    let events = format!(
        ": heart\n\nid: 2\ndata: {}\n\nid: 3\ndata: {}\n\n",
        line(2),
        line(3)
    );
    stub.answer(&format!("GET {logs}/stream?tail=2"), 200, &events);
    let output = millrace(&server, &["logs", "TODO/tasks", "--tail", "2", "-f"]).await;
    assert_eq!(stdout(&output), shown, "{}", stderr(&output));
}

#[tokio::test]
async fn health_says_whether_a_role_is_ready() {
    let (stub, server) = stub().await;
    let url = format!("{server}/readyz");
    stub.answer("GET /readyz", 503, &"stopping");
    let output = millrace(&server, &["health", "--url", &url]).await;
    assert_eq!(code(&output), 1);
    assert_eq!(stderr(&output), "millrace: not ready (503): stopping\n");
    stub.answer("GET /readyz", 200, &"ok");
    let output = millrace(&server, &["health", "--url", &url]).await;
    assert_eq!((code(&output), stdout(&output)), (0, "ok\n"));
    // Where it asks, an image says by a variable.
    let output = command(&server, &["health"])
        .env("MILLRACE_HEALTH_URL", &url)
        .output()
        .await
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = millrace(&server, &["health", "--url", "readyz"]).await;
    assert_eq!(code(&output), 2, "{}", stderr(&output));
}
