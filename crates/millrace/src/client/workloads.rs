//! `millrace workloads`.

use std::io::{Write as _, stdout};

use serde_json::Value;

use super::ClientError;
use super::server::Server;
use super::table::{Table, cell, printable};
use crate::cli::WorkloadsArgs;

pub async fn run(args: WorkloadsArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let project = match &args.project {
        Some(project) => Some(server.project_id(project).await?),
        None => None,
    };
    let mut filter = Vec::new();
    filter.extend(project.as_deref().map(|id| ("projectId", id)));
    let answer = server
        .list(&["api", "workloads"], &filter, &args.page)
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let mut table = table();
    for workload in answer.items() {
        row(&mut table, workload);
    }
    table.write(&mut out)?;
    answer.hint_at_more();
    Ok(())
}

/// What lists of workloads show.
pub fn table() -> Table<7> {
    Table::new([
        "ID", "SERVICE", "STAGE", "HEALTH", "PORT", "RESTARTS", "ERROR",
    ])
}

pub fn row(table: &mut Table<7>, workload: &Value) {
    table.row([
        cell(&workload["id"]),
        name(workload),
        cell(&workload["stage"]),
        cell(&workload["health"]),
        cell(&workload["port"]),
        cell(&workload["restarts"]),
        error(workload),
    ]);
}

/// `TODO/tasks`
fn name(workload: &Value) -> String {
    let service = cell(&workload["service"]);
    match workload["projectKey"].as_str() {
        Some(key) => format!("{}/{service}", printable(key)),
        None => service,
    }
}

pub fn error(workload: &Value) -> String {
    let error = &workload["error"];
    if error.is_null() {
        return "-".to_owned();
    }
    format!("{}: {}", cell(&error["reason"]), cell(&error["message"]))
}
