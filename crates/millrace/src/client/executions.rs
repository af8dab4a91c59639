//! `millrace executions`.

use std::io::{Write as _, stdout};

use serde_json::Value;

use super::ClientError;
use super::server::Server;
use super::table::{Table, cell, time, took};
use crate::cli::ExecutionsArgs;

pub async fn run(args: ExecutionsArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let deployment = match &args.name {
        Some(name) => Some(server.deployment_id(name).await?),
        None => None,
    };
    let mut filter = Vec::new();
    filter.extend(deployment.as_deref().map(|id| ("deploymentId", id)));
    filter.extend(args.status.as_deref().map(|status| ("status", status)));
    let answer = server
        .list(&["api", "executions"], &filter, &args.page)
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let mut table = Table::new([
        "ID",
        "DEPLOYMENT",
        "VERSION",
        "STATUS",
        "TRIGGER",
        "CREATED",
        "TOOK",
    ]);
    for execution in answer.items() {
        table.row([
            cell(&execution["id"]),
            cell(&execution["deploymentId"]),
            cell(&execution["version"]),
            cell(&execution["status"]),
            trigger(&execution["trigger"]),
            time(&execution["createdAt"]),
            took(&execution["startedAt"], &execution["endedAt"]),
        ]);
    }
    table.write(&mut out)?;
    answer.hint_at_more();
    Ok(())
}

/// What started an execution: its kind says enough for a list.
pub fn trigger(value: &Value) -> String {
    value.get("type").map_or_else(|| cell(value), cell)
}
