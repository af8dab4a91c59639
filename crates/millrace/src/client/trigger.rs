//! `millrace trigger`.

use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::Duration;

use serde_json::value::RawValue;

use super::server::Server;
use super::table::cell;
use super::{ClientError, execution, read_text};
use crate::cli::TriggerArgs;

/// As long as `--wait` promises.
const WAIT: Duration = Duration::from_mins(1);
const WAIT_QUERY: &str = "60s";

pub async fn run(args: TriggerArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let input = match args.input.strip_prefix('@') {
        Some(file) => read_text(Path::new(file))?,
        None => args.input,
    };
    // Checked only: the text itself goes out, with its numbers as written.
    if let Err(error) = serde_json::from_str::<&RawValue>(&input) {
        return Err(ClientError::Usage(format!("--input is not JSON: {error}")));
    }
    let id = server.deployment_id(&args.name).await?;
    let path = ["api", "deployments", &id, "trigger"];
    let (query, wait): (&[_], _) = if args.wait {
        (&[("wait", WAIT_QUERY)], WAIT)
    } else {
        (&[], Duration::ZERO)
    };
    let answer = server.post(&path, query, input, wait).await?;

    let status = answer.json["status"].as_str();
    // An execution that has ended, or what was accepted.
    let ended = answer.json.get("id").is_some();
    let mut out = stdout().lock();
    if args.server.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else if ended {
        execution::describe(&mut out, &answer.json)?;
    } else {
        let note = if args.wait { ", not ended yet" } else { "" };
        let accepted = &answer.json;
        writeln!(
            out,
            "{} {}{note}",
            cell(&accepted["executionId"]),
            cell(&accepted["status"])
        )?;
    }
    if args.wait && status != Some("SUCCEEDED") {
        return Err(ClientError::NotSucceeded);
    }
    Ok(())
}
