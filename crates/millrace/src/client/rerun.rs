//! `millrace rerun`.

use std::io::{Write as _, stdout};
use std::time::Duration;

use serde_json::json;

use super::ClientError;
use super::server::Server;
use super::table::cell;
use crate::cli::RerunArgs;

pub async fn run(args: RerunArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let body = json!({"from": args.from}).to_string();
    let path = ["api", "executions", args.id.as_str(), "rerun"];
    let answer = server.post(&path, &[], body, Duration::ZERO).await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(answer.write(&mut out)?);
    }
    let new = cell(&answer.json["executionId"]);
    Ok(writeln!(out, "{new} rerun of {}", args.id)?)
}
