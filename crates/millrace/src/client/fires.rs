//! `millrace fires` and `millrace preview`.

use std::io::{Write, stdout};

use serde_json::Value;

use super::ClientError;
use super::server::{Answer, Server};
use super::table::{Table, cell, time};
use crate::cli::{FiresArgs, PreviewArgs};

/// The ledger.
pub async fn fires(args: FiresArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = trigger_id(&server, &args.name).await?;
    let mut filter = Vec::new();
    filter.extend(args.from.as_deref().map(|from| ("from", from)));
    filter.extend(args.to.as_deref().map(|to| ("to", to)));
    let path = ["api", "triggers", &id, "fires"];
    let answer = server.list(&path, &filter, &args.page).await?;
    show(&mut stdout().lock(), &answer, args.server.json)
}

/// What is to come.
pub async fn preview(args: PreviewArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = trigger_id(&server, &args.name).await?;
    let count = args.count.to_string();
    let path = ["api", "triggers", &id, "preview"];
    let answer = server.get(&path, &[("count", &count)]).await?;
    show(&mut stdout().lock(), &answer, args.server.json)
}

fn show(out: &mut impl Write, answer: &Answer, json: bool) -> Result<(), ClientError> {
    if json {
        return Ok(answer.write(out)?);
    }
    let mut table = Table::new([
        "NOMINAL",
        "EFFECTIVE",
        "COUNT",
        "OUTCOME",
        "EXECUTION",
        "REASON",
    ]);
    for fire in answer.items() {
        table.row([
            time(&fire["nominalAt"]),
            time(&fire["effectiveAt"]),
            cell(&fire["count"]),
            cell(&fire["outcome"]),
            cell(&fire["executionId"]),
            cell(&fire["reason"]),
        ]);
    }
    table.write(out)?;
    answer.hint_at_more();
    Ok(())
}

/// The id of a trigger: as it was given, or that of the one schedule of a
/// deployment.
async fn trigger_id(server: &Server, name: &str) -> Result<String, ClientError> {
    if name.parse::<millrace_types::TriggerId>().is_ok() {
        return Ok(name.to_owned());
    }
    let deployment = server.deployment_id(name).await?;
    let path = ["api", "deployments", &deployment];
    let answer = server.get(&path, &[]).await?;
    let schedules: Vec<&Value> = answer.json["triggers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|trigger| {
            let kind = trigger["type"].as_str();
            matches!(kind, Some("cron" | "interval" | "once"))
        })
        .collect();
    match schedules.as_slice() {
        [] => Err(ClientError::NoSchedule(name.to_owned())),
        [one] => Ok(cell(&one["id"])),
        several => Err(ClientError::SeveralSchedules {
            name: name.to_owned(),
            triggers: several
                .iter()
                .map(|trigger| format!("{} ({})", cell(&trigger["id"]), cell(&trigger["type"])))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}
