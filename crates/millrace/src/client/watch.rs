//! `millrace execution ID --watch`: a line for each event as it happens, and
//! the execution once it has ended.

use std::io::{Write as _, stdout};

use serde_json::Value;

use super::ClientError;
use super::execution::describe;
use super::server::{Server, Stream};
use super::table::{cell, printable};

/// Times that a stream is taken up again where it broke off, without a
/// further event in between.
const ATTEMPTS: u32 = 5;

/// Returns once the execution has ended; fails unless it succeeded.
pub async fn run(server: &Server, id: &str, json: bool) -> Result<(), ClientError> {
    let mut seen = String::new();
    let mut attempts = 0;
    loop {
        let path = ["api", "executions", id, "stream"];
        let query = [("after", seen.as_str())];
        let query = if seen.is_empty() { &[][..] } else { &query[..] };
        match server.stream(&path, query).await {
            Ok(mut stream) => {
                while let Some((event, data)) = next(&mut stream).await {
                    attempts = 0;
                    if event == "end" {
                        return ended(&data, json);
                    }
                    shown(&data, json)?;
                    seen = cell(&data["seq"]);
                }
            }
            Err(error @ ClientError::Unreachable { .. }) if attempts + 1 >= ATTEMPTS => {
                return Err(error);
            }
            Err(ClientError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        attempts += 1;
        if attempts >= ATTEMPTS {
            return Err(ClientError::BrokenOff(id.to_owned()));
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// The next event's name and data; `None` at the end of the stream, however
/// that came about.
async fn next(stream: &mut Stream) -> Option<(String, Value)> {
    let (mut event, mut data) = (String::new(), String::new());
    while let Some(line) = stream.line().await {
        if line.is_empty() {
            if let Ok(value) = serde_json::from_str(&data) {
                return Some((event, value));
            }
            (event, data) = (String::new(), String::new());
        } else if let Some(text) = line.strip_prefix("data:") {
            data.push_str(text.strip_prefix(' ').unwrap_or(text));
        } else if let Some(text) = line.strip_prefix("event:") {
            text.trim().clone_into(&mut event);
        }
    }
    None
}

fn shown(event: &Value, json: bool) -> Result<(), ClientError> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{event}")?;
    } else {
        let line = format!(
            "{:>5}  {}  {}  {}",
            cell(&event["seq"]),
            cell(&event["at"]),
            cell(&event["kind"]),
            cell(&event["task"]),
        );
        writeln!(out, "{}", printable(&line))?;
    }
    // Whoever reads it through a pipe wants it now, too.
    Ok(out.flush()?)
}

fn ended(execution: &Value, json: bool) -> Result<(), ClientError> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{execution}")?;
    } else {
        describe(&mut out, execution)?;
    }
    if execution["status"] == "SUCCEEDED" {
        Ok(())
    } else {
        Err(ClientError::NotSucceeded)
    }
}
