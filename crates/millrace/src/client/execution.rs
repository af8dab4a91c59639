//! `millrace execution`.

use std::io::{self, Write, stdout};

use serde_json::Value;

use super::executions::trigger;
use super::server::Server;
use super::table::{Table, cell, time, took};
use super::{ClientError, watch};
use crate::cli::ExecutionArgs;

/// As much history as one screen of scrolling.
const HISTORY: &str = "1000";

pub async fn run(args: ExecutionArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    if args.watch {
        return watch::run(&server, &args.id, args.server.json).await;
    }
    let path = ["api", "executions", args.id.as_str()];
    let answer = server.get(&path, &[]).await?;
    if args.server.json {
        return Ok(writeln!(stdout(), "{}", answer.text.trim_end())?);
    }
    let [api, executions, id] = path;
    let history = server
        .get(&[api, executions, id, "history"], &[("limit", HISTORY)])
        .await?;
    let mut out = stdout().lock();
    describe(&mut out, &answer.json)?;
    writeln!(out)?;
    let mut table = Table::new(["SEQ", "AT", "KIND", "ATTEMPT", "TASK"]);
    for event in history.items() {
        let attempt = Some(&event["attempt"]).filter(|attempt| attempt.as_u64() != Some(0));
        table.row([
            cell(&event["seq"]),
            cell(&event["at"]),
            cell(&event["kind"]),
            attempt.map_or_else(|| "-".to_owned(), cell),
            cell(&event["task"]),
        ]);
    }
    table.write(&mut out)?;
    history.hint_at_more();
    Ok(())
}

/// One execution, a line for each thing to know.
pub fn describe(out: &mut impl Write, execution: &Value) -> io::Result<()> {
    writeln!(
        out,
        "{} {}",
        cell(&execution["id"]),
        cell(&execution["status"])
    )?;
    let mut line = |name: &str, text: String| match text.as_str() {
        "-" => Ok(()),
        text => writeln!(out, "  {name:<10} {text}"),
    };
    line("deployment", cell(&execution["deploymentId"]))?;
    line("version", cell(&execution["version"]))?;
    line("trigger", trigger(&execution["trigger"]))?;
    line("created", time(&execution["createdAt"]))?;
    line("took", took(&execution["startedAt"], &execution["endedAt"]))?;
    line("rerun of", cell(&execution["rerunOf"]))?;
    for name in ["input", "output", "error"] {
        let value = &execution[name];
        if !value.is_null() {
            // JSON text escapes what would drive a terminal.
            line(name, value.to_string())?;
        }
    }
    Ok(())
}
