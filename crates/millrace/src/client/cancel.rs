//! `millrace cancel`.

use std::io::{Write as _, stdout};
use std::time::Duration;

use serde_json::json;

use super::ClientError;
use super::server::Server;
use super::table::cell;
use crate::cli::CancelArgs;

pub async fn run(args: CancelArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let body = match &args.reason {
        Some(reason) => json!({"reason": reason}),
        None => json!({}),
    };
    let path = ["api", "executions", args.id.as_str(), "cancel"];
    let answer = server
        .post(&path, &[], body.to_string(), Duration::ZERO)
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(answer.write(&mut out)?);
    }
    let execution = &answer.json;
    let note = if execution["status"] == "CANCELLED" {
        ""
    } else {
        ", its owner has been asked to end it"
    };
    let (id, status) = (cell(&execution["id"]), cell(&execution["status"]));
    Ok(writeln!(out, "{id} {status}{note}")?)
}
