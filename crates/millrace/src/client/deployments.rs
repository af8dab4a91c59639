//! `millrace deployments`.

use std::io::{Write as _, stdout};

use serde_json::Value;

use super::ClientError;
use super::server::Server;
use super::table::{Table, cell, time};
use crate::cli::DeploymentsArgs;

pub async fn run(args: DeploymentsArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let answer = server
        .list(&["api", "deployments"], &[], &args.page)
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let mut table = Table::new([
        "ID",
        "NAMESPACE",
        "NAME",
        "VERSION",
        "STATUS",
        "DEPLOYED",
        "TRIGGERS",
    ]);
    for deployment in answer.items() {
        table.row([
            cell(&deployment["id"]),
            cell(&deployment["namespace"]),
            cell(&deployment["name"]),
            cell(&deployment["version"]),
            cell(&deployment["status"]),
            time(&deployment["deployedAt"]),
            triggers(&deployment["triggers"]),
        ]);
    }
    table.write(&mut out)?;
    answer.hint_at_more();
    Ok(())
}

/// `webhook orders, cron 0 2 * * *`
fn triggers(list: &Value) -> String {
    let texts: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|trigger| {
            let what = ["path", "cron", "every", "at"]
                .iter()
                .find_map(|member| trigger[*member].as_str());
            let kind = cell(&trigger["type"]);
            what.map_or_else(|| kind.clone(), |what| format!("{kind} {what}"))
        })
        .collect();
    if texts.is_empty() {
        "-".to_owned()
    } else {
        texts.join(", ")
    }
}
