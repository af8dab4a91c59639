//! Jobs: run to their end, with all that they write.

use std::time::{Duration, Instant};

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::run_job_response::Message;
use millrace_testkit::eventually;
use tokio_stream::StreamExt as _;

use crate::harness::{Harness, PATIENCE, is_alive};

fn job(command: &[&str]) -> pb::RunJobRequest {
    pb::RunJobRequest {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..pb::RunJobRequest::default()
    }
}

async fn run(harness: &Harness, request: pb::RunJobRequest) -> (Vec<pb::LogEntry>, pb::JobEnd) {
    let mut stream = harness
        .client
        .clone()
        .run_job(request)
        .await
        .unwrap()
        .into_inner();
    let mut lines = Vec::new();
    let all = async {
        loop {
            match stream.next().await.unwrap().unwrap().message.unwrap() {
                Message::Output(entry) => lines.push(entry),
                Message::End(end) => return end,
            }
        }
    };
    let end = tokio::time::timeout(PATIENCE, all).await.unwrap();
    (lines, end)
}

#[tokio::test]
async fn a_job_gets_its_input_and_gives_its_output_and_its_code() {
    let harness = Harness::new().await;
    let mut request = job(&["sh", "-c", "read line; echo $line $A; echo err >&2; exit 7"]);
    request.stdin = "hello\n".into();
    request.env.insert("A".into(), "there".into());
    let (lines, end) = run(&harness, request).await;
    assert_eq!(
        (end.exit_code, end.signal, end.reason.as_str()),
        (Some(7), None, "")
    );
    let mut said: Vec<_> = lines
        .iter()
        .map(|e| (e.stream.as_str(), e.line.as_str()))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [("stderr", "err"), ("stdout", "hello there")]);
    let (_, end) = run(&harness, job(&["/no/such/program"])).await;
    assert_eq!(
        (end.exit_code, end.reason.as_str()),
        (None, "command-not-found")
    );
    let refused = harness.client.clone().run_job(job(&[])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    harness.end().await;
}

#[tokio::test]
async fn a_job_ends_at_its_time_and_when_nobody_listens_any_more() {
    let harness = Harness::new().await;
    let mut request = job(&["sleep", "1000"]);
    request.timeout_ms = 200;
    let began = Instant::now();
    let (_, end) = run(&harness, request).await;
    assert_eq!((end.signal, end.reason.as_str()), (Some(9), "timeout"));
    assert!(began.elapsed() >= Duration::from_millis(200));

    let request = job(&["sh", "-c", "setsid sleep 1000 & echo $!; wait"]);
    let mut stream = harness
        .client
        .clone()
        .run_job(request)
        .await
        .unwrap()
        .into_inner();
    let Message::Output(entry) = stream.next().await.unwrap().unwrap().message.unwrap() else {
        panic!("it has ended");
    };
    assert!(is_alive(&entry.line));
    drop(stream);
    eventually(PATIENCE, || async {
        if is_alive(&entry.line) {
            Err(&entry.line)
        } else {
            Ok(())
        }
    })
    .await;
    let runs = harness.folder.path().join("data/run");
    eventually(PATIENCE, || async {
        let left = std::fs::read_dir(&runs).unwrap().count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    harness.end().await;
}
