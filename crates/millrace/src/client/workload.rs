//! `millrace workload`, and the verbs that change one.

use std::io::{self, Write, stdout};
use std::time::Duration;

use serde_json::{Value, json};

use super::ClientError;
use super::server::{Answer, Server};
use super::table::{Table, cell, time};
use super::workloads::{error, row, table};
use crate::cli::{RestartArgs, WorkloadArgs, WorkloadVerbArgs};

/// As long as `--wait` promises.
const WAIT: Duration = Duration::from_mins(1);
const WAIT_QUERY: (&str, &str) = ("wait", "60s");

pub async fn show(args: WorkloadArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.workload_id(&args.workload).await?;
    let answer = server.get(&["api", "workloads", &id], &[]).await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    Ok(describe(&mut out, &answer.json)?)
}

/// Of a service that has no workload yet, makes one.
pub async fn start(args: WorkloadVerbArgs) -> Result<(), ClientError> {
    change("start", "running", &args, &[]).await
}

pub async fn stop(args: WorkloadVerbArgs) -> Result<(), ClientError> {
    change("stop", "stopped", &args, &[]).await
}

pub async fn restart(args: RestartArgs) -> Result<(), ClientError> {
    if args.verb.is_project() {
        return Err(ClientError::Usage(
            "a project cannot be restarted as a whole: stop it, then start it".to_owned(),
        ));
    }
    let strategy = args.blue_green.then_some(("strategy", "blueGreen"));
    change("restart", "running", &args.verb, strategy.as_slice()).await
}

pub async fn delete(args: WorkloadArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.workload_id(&args.workload).await?;
    server.delete(&["api", "workloads", &id]).await.map(drop)
}

/// `goal` is the stage that it is to come to.
async fn change(
    verb: &str,
    goal: &str,
    args: &WorkloadVerbArgs,
    query: &[(&str, &str)],
) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let (what, id) = if args.is_project() {
        ("projects", server.project_id(&args.what).await?)
    } else if verb == "start" {
        ("workloads", made(&server, &args.what).await?)
    } else {
        ("workloads", server.workload_id(&args.what).await?)
    };
    let mut query = query.to_vec();
    query.extend(args.wait.then_some(WAIT_QUERY));
    let wait = if args.wait { WAIT } else { Duration::ZERO };
    let answer = server
        .post(&["api", what, &id, verb], &query, String::new(), wait)
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else {
        let mut table = table();
        for workload in workloads(&answer) {
            row(&mut table, workload);
        }
        table.write(&mut out)?;
    }
    let arrived = workloads(&answer).all(|workload| workload["stage"] == goal);
    if args.wait && !arrived {
        return Err(ClientError::NotSucceeded);
    }
    Ok(())
}

/// The one that was answered, or those of a list.
fn workloads(answer: &Answer) -> impl Iterator<Item = &Value> {
    let one = answer.json.get("id").map(|_| &answer.json);
    one.into_iter().chain(answer.items())
}

/// The workload of a service, made where there is none.
async fn made(server: &Server, name: &str) -> Result<String, ClientError> {
    match server.workload_id(name).await {
        Err(ClientError::NoSuchWorkload(_)) => {}
        found => return found,
    }
    let Some((project, service)) = name.split_once('/') else {
        return Err(ClientError::NoSuchWorkload(name.to_owned()));
    };
    let project_id = server.project_id(project).await?;
    let body = json!({"projectId": project_id, "service": service});
    let answer = server
        .post(&["api", "workloads"], &[], body.to_string(), Duration::ZERO)
        .await?;
    Ok(answer.json["id"].as_str().unwrap_or_default().to_owned())
}

fn describe(out: &mut impl Write, workload: &Value) -> io::Result<()> {
    let mut list = table();
    row(&mut list, workload);
    list.write(out)?;
    let error = error(workload);
    if error != "-" {
        writeln!(out, "error      {error}")?;
    }
    if !workload["nextRetryAt"].is_null() {
        writeln!(out, "next retry {}", time(&workload["nextRetryAt"]))?;
    }
    writeln!(out)?;
    let mut table = Table::new([
        "INSTANCE", "PID", "PORT", "STARTED", "ENDED", "EXIT", "REASON",
    ]);
    for instance in workload["instances"].as_array().into_iter().flatten() {
        let signal = instance["signal"].as_i64();
        table.row([
            cell(&instance["id"]),
            cell(&instance["pid"]),
            cell(&instance["port"]),
            time(&instance["startedAt"]),
            time(&instance["endedAt"]),
            signal.map_or_else(
                || cell(&instance["exitCode"]),
                |signal| format!("signal {signal}"),
            ),
            cell(&instance["reason"]),
        ]);
    }
    table.write(out)
}
