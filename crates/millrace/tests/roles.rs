//! Processes from their start to their end, as an operator sees them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn millrace(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .args(arguments)
        // Neither configuration nor variables of whoever runs the tests.
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

const DEV: &[&str] = &[
    "dev",
    "--ready-json",
    "--listen",
    "127.0.0.1:0",
    "--runtime-listen",
    "127.0.0.1:0",
    "--orchestrator-listen",
    "127.0.0.1:0",
];

async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    timeout(SOON, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap_or_default()
}

fn terminate(child: &Child) {
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: millrace\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn dev_says_where_it_listens_and_ends_well_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = millrace(directory.path(), DEV).spawn().unwrap();
    let ready: Value = serde_json::from_str(&first_line(&mut dev).await).unwrap();
    let live = get(ready["http"].as_str().unwrap(), "/livez").await;
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    for part in ["runtime", "orchestrator"] {
        TcpStream::connect(ready[part].as_str().unwrap())
            .await
            .unwrap();
    }
    terminate(&dev);
    let output = timeout(SOON, dev.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stdout.is_empty(),
        "nothing but the line goes to standard output"
    );
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let line: Value = serde_json::from_str(line).expect("logs are JSON");
        assert_eq!(line["level"], "INFO", "it ends in order: {line}");
    }
}

#[tokio::test]
async fn a_second_dev_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = millrace(directory.path(), DEV).spawn().unwrap();
    first_line(&mut first).await;
    let second = timeout(SOON, millrace(directory.path(), DEV).output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("is in use by another millrace"), "{text}");
    assert!(second.stdout.is_empty());

    first.kill().await.unwrap();
    let mut third = millrace(directory.path(), DEV).spawn().unwrap();
    assert!(
        first_line(&mut third).await.contains("http"),
        "a killed one leaves no lock"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = millrace(directory.path(), &["orchestrator", "--listen", &address])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains(&format!(
            "cannot listen on {address} (`orchestrator.listen`)"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn configuration_is_printed_without_secrets_and_refused_with_two() {
    let directory = tempfile::tempdir().unwrap();
    let printed = millrace(
        directory.path(),
        &["runtime", "--print-config", "--engine", "e:1"],
    )
    .env("DATABASE_URL", "postgres://me:hunter2@db/x")
    .output()
    .await
    .unwrap();
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        text.contains("url = \"postgres://me:***@db/x\"  # variable DATABASE_URL"),
        "{text}"
    );
    assert!(
        text.contains("engine = [\"http://e:1\"]  # flag --engine"),
        "{text}"
    );

    std::fs::write(
        directory.path().join("millrace.toml"),
        "[gateway]\nlissten = 1\n",
    )
    .unwrap();
    let refused = millrace(directory.path(), DEV).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(refused.stderr).unwrap(),
        "millrace: millrace.toml:2: there is no setting `gateway.lissten` \
         (did you mean `gateway.listen`?)\n"
    );
}

#[tokio::test]
async fn the_orchestrator_serves_its_contract_on_a_database_of_its_own() {
    use millrace_proto::orchestrator::v1::ListProjectsRequest;
    use millrace_proto::orchestrator::v1::workload_orchestrator_service_client::WorkloadOrchestratorServiceClient;
    let directory = tempfile::tempdir().unwrap();
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string()
    };
    let (grpc, admin) = (free(), free());
    let database = format!("sqlite://{}/orchestrator.db", directory.path().display());
    let migrated = millrace(directory.path(), &["migrate", "--database-url", &database])
        .output()
        .await
        .unwrap();
    assert!(migrated.status.success());
    let arguments = [
        "orchestrator",
        "--listen",
        &grpc,
        "--admin-listen",
        &admin,
        "--database-url",
        &database,
    ];
    let mut child = millrace(directory.path(), &arguments).spawn().unwrap();
    let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = timeout(SOON, logs.next_line()).await.unwrap().unwrap() {
        if line.contains("serves gRPC") {
            break;
        }
    }
    assert!(
        get(&admin, "/metrics")
            .await
            .contains("role=\"orchestrator\"")
    );
    let transport = millrace_service::transport::remote(&format!("http://{grpc}")).unwrap();
    let mut client = WorkloadOrchestratorServiceClient::new(transport);
    let projects = client
        .list_projects(ListProjectsRequest::default())
        .await
        .unwrap();
    assert_eq!(projects.into_inner().projects, []);
    terminate(&child);
    assert_eq!(
        timeout(SOON, child.wait()).await.unwrap().unwrap().code(),
        Some(0)
    );
}

#[tokio::test]
async fn migrating_twice_changes_nothing_the_second_time() {
    let directory = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let output = millrace(directory.path(), arguments)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = run(&["migrate"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("`database.url` is not set"), "{text}");
    let (code, text) = run(&["migrate", "--database-url", "sqlite://a.db"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("applied 1 "), "{text}");
    let again = run(&["migrate", "--database-url", "sqlite://a.db"]).await;
    assert_eq!(again, (Some(0), "up to date\n".to_owned()));
}

#[tokio::test]
async fn what_is_deployed_on_dev_runs_and_is_shown() {
    const HELLO: &str = "document: {dsl: '1.0.3', namespace: demo, name: hello, version: '1.0.0'}\n\
                         do:\n  - greet:\n      set: {text: '${ \"hello \" + .name }'}\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("hello.yaml"), HELLO).unwrap();
    let mut dev = millrace(directory.path(), DEV).spawn().unwrap();
    let ready: Value = serde_json::from_str(&first_line(&mut dev).await).unwrap();
    let server = format!("http://{}", ready["http"].as_str().unwrap());
    let run = async |arguments: &[&str]| {
        let mut command = millrace(directory.path(), arguments);
        let output = command
            .env("MILLRACE_SERVER", &server)
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["deploy", "hello.yaml", "--webhook", "hello"]).await;
    let input = r#"{"name":"you"}"#;
    let ended = run(&["trigger", "hello", "--wait", "--json", "--input", input]).await;
    let ended: Value = serde_json::from_str(&ended).unwrap();
    assert_eq!(ended["output"], serde_json::json!({"text": "hello you"}));
    let shown = run(&["execution", ended["id"].as_str().unwrap()]).await;
    assert!(shown.contains("/do/0/greet"), "{shown}");
    let metrics = get(ready["http"].as_str().unwrap(), "/metrics").await;
    for line in [
        "millrace_build_info{version=",
        "millrace_http_requests_total{route=\"/api/deployments/{id}/trigger\",method=\"POST\",status=\"2xx\"} 1",
        "millrace_executions_admitted_total{trigger=\"manual\",fresh=\"true\"} 1",
        "millrace_executions_ended_total{status=\"SUCCEEDED\"} 1",
        "millrace_commit_duration_seconds_bucket{le=",
        "millrace_schedule_last_tick_timestamp_seconds ",
        "millrace_database_connections{state=\"idle\"}",
        "process_cpu_seconds_total ",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    // Neither ids nor paths with ids in them.
    assert!(
        !metrics.contains("exe_") && !metrics.contains("dep_"),
        "{metrics}"
    );
    terminate(&dev);
    assert_eq!(
        timeout(SOON, dev.wait()).await.unwrap().unwrap().code(),
        Some(0)
    );
}
