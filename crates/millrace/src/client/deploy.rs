//! `millrace deploy`.

use std::io::{Write as _, stdout};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Answer, Server};
use super::table::{cell, printable};
use super::{ClientError, read_text};
use crate::cli::DeployArgs;

pub async fn run(args: DeployArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let answer = post(&server, &["api", "deployments"], &args).await?;

    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let deployment = &answer.json;
    writeln!(
        out,
        "{} version {} is {} ({})",
        cell(&deployment["name"]),
        cell(&deployment["version"]),
        cell(&deployment["status"]),
        cell(&deployment["id"]),
    )?;
    for trigger in deployment["triggers"].as_array().into_iter().flatten() {
        match (trigger["path"].as_str(), trigger["cron"].as_str()) {
            (Some(path), _) => {
                let mut segments = vec!["webhooks"];
                segments.extend(path.trim_start_matches('/').split('/'));
                writeln!(out, "  webhook  {}", server.url(&segments))?;
            }
            (None, Some(expression)) => writeln!(out, "  cron     {}", printable(expression))?,
            (None, None) => writeln!(out, "  {}", cell(&trigger["type"]))?,
        }
    }
    Ok(())
}

/// Posts what the arguments say is to be live.
pub(super) async fn post(
    server: &Server,
    path: &[&str],
    args: &DeployArgs,
) -> Result<Answer, ClientError> {
    let workflow = read_text(&args.file)?;
    let webhooks = args
        .webhook
        .iter()
        .map(|path| json!({"type": "webhook", "path": path}));
    let crons = args
        .cron
        .iter()
        .map(|expression| json!({"type": "cron", "cron": expression}));
    let triggers: Vec<Value> = webhooks.chain(crons).collect();
    let body = json!({"workflow": workflow, "triggers": triggers}).to_string();
    server
        .post(path, &[], body, Duration::ZERO)
        .await
        .map_err(|error| match error {
            ClientError::Refused(problem) => {
                ClientError::Refused(problem.about(args.file.display().to_string()))
            }
            other => other,
        })
}
