//! Jobs: run to their end, with all that they write.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

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

/// Folders of what runs, or has not been forgotten.
fn runs(harness: &Harness) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(harness.folder.path().join("data/run"));
    runs.unwrap().map(|entry| entry.unwrap().path()).collect()
}

async fn until_nothing_is_left(harness: &Harness) {
    eventually(PATIENCE, || async {
        match runs(harness).as_slice() {
            [] => Ok(()),
            left => Err(left.to_vec()),
        }
    })
    .await;
}

async fn until_dead(pid: &str) {
    eventually(PATIENCE, || async {
        if is_alive(pid) { Err(pid) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_job_ends_at_its_time() {
    let harness = Harness::new().await;
    let mut request = job(&["sleep", "1000"]);
    request.timeout_ms = 200;
    let (_, end) = run(&harness, request).await;
    assert_eq!((end.signal, end.reason.as_str()), (Some(9), "timeout"));
    until_nothing_is_left(&harness).await;
    harness.end().await;
}

#[tokio::test]
async fn a_job_that_never_stops_writing_ends_at_its_time() {
    let harness = Harness::new().await;
    // Faster than it is read: there is always more to hand on, though not
    // millions of lines.
    let line = "a line that is written again and again".repeat(50);
    let mut request = job(&["yes", &line]);
    request.timeout_ms = 500;
    let (lines, end) = run(&harness, request).await;
    assert_eq!((end.signal, end.reason.as_str()), (Some(9), "timeout"));
    let seqs = lines.iter().map(|entry| entry.seq);
    assert!(seqs.eq(1..=lines.len() as u64), "something is missing");
    until_nothing_is_left(&harness).await;
    harness.end().await;
}

#[tokio::test]
async fn a_job_whose_caller_reads_nothing_ends_at_its_time() {
    let harness = Harness::new().await;
    let folder = harness.folder.path().join("pid");
    let script = format!("echo $$ > {}; exec yes", folder.display());
    let mut request = job(&["sh", "-c", &script]);
    request.timeout_ms = 500;
    let stream = harness.client.clone().run_job(request).await.unwrap();
    let pid = eventually(PATIENCE, || async {
        let pid = std::fs::read_to_string(&folder).unwrap_or_default();
        match pid.strip_suffix('\n') {
            Some(pid) => Ok(pid.to_owned()),
            None => Err(pid),
        }
    })
    .await;
    // Nobody has read a line by then.
    until_dead(&pid).await;
    drop(stream);
    until_nothing_is_left(&harness).await;
    harness.end().await;
}

#[tokio::test]
async fn a_job_ends_when_nobody_listens_any_more() {
    let harness = Harness::new().await;
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
    until_dead(&entry.line).await;
    until_nothing_is_left(&harness).await;
    harness.end().await;
}

#[tokio::test]
async fn a_job_whose_caller_goes_while_it_is_started_does_not_run_on() {
    let harness = Harness::new().await;
    for looks in 0..20 {
        let mut client = harness.client.clone();
        let call = client.run_job(job(&["sleep", "1000"]));
        // Gone some steps later, each time: before, within and after its start.
        tokio::select! {
            biased;
            done = call => drop(done),
            () = async {
                for _ in 0..looks {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    let mut client = harness.client.clone();
    let call = client.run_job(job(&["sleep", "1000"]));
    tokio::select! {
        done = call => drop(done),
        () = eventually(PATIENCE, || async {
            if runs(&harness).is_empty() { Err(()) } else { Ok(()) }
        }) => {}
    }
    until_nothing_is_left(&harness).await;
    harness.end().await;
}

#[tokio::test]
async fn what_a_job_is_told_is_for_nobody_else_to_read() {
    let harness = Harness::new().await;
    let mut request = job(&["sh", "-c", "pwd; sleep 1000"]);
    request.env.insert("SECRET".into(), "s".into());
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
    let folders = runs(&harness);
    let [folder] = folders.as_slice() else {
        panic!("{folders:?}");
    };
    let mode = std::fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(entry.line.starts_with(folder.to_str().unwrap()));
    drop(stream);
    until_nothing_is_left(&harness).await;
    harness.end().await;
}
