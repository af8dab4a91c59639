//! `millrace plan`.

use std::io::{Write, stdout};

use serde_json::Value;

use super::ClientError;
use super::deploy::post;
use super::server::Server;
use super::table::{cell, printable};
use crate::cli::DeployArgs;

pub async fn run(args: DeployArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let answer = post(&server, &["api", "deployments", "plan"], &args).await?;
    let valid = answer.json["valid"] == true;
    let mut out = stdout().lock();
    if args.server.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else {
        let file = printable(&args.file.display().to_string());
        for kind in ["diagnostics", "warnings"] {
            for finding in items(&answer.json[kind]) {
                let at = cell(&finding["pointer"]);
                let (line, column) = (cell(&finding["line"]), cell(&finding["column"]));
                let message = cell(&finding["message"]);
                let kind = if kind == "warnings" { "warning: " } else { "" };
                writeln!(out, "{file}:{line}:{column}: {kind}{at}: {message}")?;
            }
        }
        if valid {
            show(&mut out, &answer.json["plan"])?;
        }
    }
    if valid {
        Ok(())
    } else {
        Err(ClientError::NotSucceeded)
    }
}

fn show(out: &mut impl Write, plan: &Value) -> Result<(), ClientError> {
    let action = cell(&plan["action"]);
    match plan["version"].as_u64() {
        Some(version) => writeln!(out, "{action}: version {version}")?,
        None => writeln!(out, "{action}: a new version")?,
    }
    for change in items(&plan["changes"]) {
        let sign = match change["op"].as_str() {
            Some("add") => '+',
            Some("remove") => '-',
            _ => '~',
        };
        let pointer = cell(&change["pointer"]);
        match sign {
            '+' => writeln!(out, "  + {pointer}: {}", cell(&change["after"]))?,
            '-' => writeln!(out, "  - {pointer}: {}", cell(&change["before"]))?,
            _ => {
                let (before, after) = (cell(&change["before"]), cell(&change["after"]));
                writeln!(out, "  ~ {pointer}: {before} -> {after}")?;
            }
        }
    }
    if plan["truncated"] == true {
        writeln!(out, "  … and more")?;
    }
    for fire in items(&plan["fires"]) {
        let (trigger, change) = (cell(&fire["trigger"]), cell(&fire["change"]));
        let at = [&fire["after"], &fire["before"], &fire["nominalAt"]]
            .into_iter()
            .find(|at| at.is_string());
        writeln!(
            out,
            "  {change:<6} {trigger} {}",
            at.map(cell).unwrap_or_default()
        )?;
    }
    Ok(())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
