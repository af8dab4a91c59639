//! `make soak-replacements`: a service is replaced again and again while it is
//! called, and no call may fail.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::http::{Connection, request};
use crate::server::Server;

/// Calls of one client: what was answered, and what went wrong.
#[derive(Debug, Default)]
struct Calls {
    answered: u64,
    failed: Vec<String>,
    /// The processes that have answered.
    by: HashSet<String>,
}

/// Fails when a single call has failed, or when there were fewer calls a
/// second than `rate`.
pub async fn run(binary: &Path, replacements: u32, rate: u32, clients: u32) -> io::Result<()> {
    let ports = [("MILLRACE_ORCHESTRATOR__PORTS", "23500-23699")];
    let server = Server::start(&binary.canonicalize()?, None, &ports).await?;
    let home = server.data().join("project");
    let service = home.join("src/services/answer");
    std::fs::create_dir_all(&service)?;
    let command = [
        std::env::current_exe()?.to_string_lossy().into_owned(),
        "answer".into(),
    ];
    let spec = json!({"type": "process", "command": command});
    std::fs::write(service.join("service.json"), spec.to_string())?;
    let project = json!({"name": "Soak", "key": "SOAK", "localPath": home});
    let project = server.call("POST", "/api/projects", &project).await?;
    let workload = json!({"projectId": project["id"], "service": "answer"});
    let workload = server.call("POST", "/api/workloads", &workload).await?;
    let path = format!(
        "/api/workloads/{}",
        workload["id"].as_str().unwrap_or_default()
    );
    let started = server
        .call("POST", &format!("{path}/start?wait=60s"), &json!({}))
        .await?;
    expect_running(&started)?;

    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    // More than is wanted: a client that is late does not catch up.
    let pause = Duration::from_secs(1) * clients / (rate + rate / 2);
    for client in 0..clients {
        load.spawn(call(server.address.clone(), client, pause, stopped.clone()));
    }
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..replacements {
        let asked = Instant::now();
        let restart = format!("{path}/restart?strategy=blueGreen&wait=60s");
        expect_running(&server.call("POST", &restart, &json!({})).await?)?;
        slowest = slowest.max(asked.elapsed());
    }
    let elapsed = began.elapsed();
    let _ = stop.send(true);
    let mut all = Calls::default();
    while let Some(calls) = load.join_next().await {
        let calls = calls.map_err(io::Error::other)?;
        all.answered += calls.answered;
        all.failed.extend(calls.failed);
        all.by.extend(calls.by);
    }
    server.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let per_second = all.answered as f64 / elapsed.as_secs_f64();
    println!(
        "{replacements} replacements in {elapsed:.1?}, the slowest in {slowest:.2?}: {} requests \
         ({per_second:.0}/s) answered by {} processes, {} failed",
        all.answered,
        all.by.len(),
        all.failed.len()
    );
    for failed in all.failed.iter().take(10) {
        println!("  {failed}");
    }
    if !all.failed.is_empty() {
        return Err(io::Error::other("requests have failed"));
    }
    if per_second < f64::from(rate) {
        return Err(io::Error::other(format!("fewer than {rate} requests/s")));
    }
    Ok(())
}

fn expect_running(workload: &Value) -> io::Result<()> {
    if workload["stage"] == "running" && workload["error"].is_null() {
        return Ok(());
    }
    Err(io::Error::other(format!("it does not run: {workload}")))
}

/// Calls at a steady pace over one connection that is kept. Every other client
/// posts, which nobody may do twice on its behalf.
async fn call(address: String, client: u32, pause: Duration, stop: watch::Receiver<bool>) -> Calls {
    let mut calls = Calls::default();
    let method = if client.is_multiple_of(2) {
        "GET"
    } else {
        "POST"
    };
    let body = if method == "POST" { "{\"a\":1}" } else { "" };
    let request = request(method, "/services/SOAK/answer/x", &address, body);
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    while !*stop.borrow() {
        ticks.tick().await;
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(&address).await {
                Ok(open) => open,
                Err(error) => {
                    calls.failed.push(format!("connecting: {error}"));
                    continue;
                }
            },
        };
        match open.send(&request).await {
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                if answer.status == 200 {
                    calls.answered += 1;
                    calls.by.insert(body);
                } else {
                    calls
                        .failed
                        .push(format!("{method}: {} {body}", answer.status));
                }
                connection = Some(open);
            }
            Err(error) => calls.failed.push(format!("{method}: {error}")),
        }
    }
    calls
}
