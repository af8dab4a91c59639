//! `millrace versions`.

use std::io::stdout;

use super::ClientError;
use super::server::Server;
use super::table::{Table, cell, time};
use crate::cli::VersionsArgs;

pub async fn run(args: VersionsArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.deployment_id(&args.name).await?;
    let path = ["api", "deployments", &id, "versions"];
    let answer = server.list(&path, &[], &args.page).await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(answer.write(&mut out)?);
    }
    let mut table = Table::new(["VERSION", "LIVE", "DOCUMENT", "CREATED", "DIGEST"]);
    for version in answer.items() {
        let live = if version["live"] == true { "live" } else { "-" };
        table.row([
            cell(&version["version"]),
            live.to_owned(),
            cell(&version["workflowVersion"]),
            time(&version["createdAt"]),
            cell(&version["digest"]),
        ]);
    }
    table.write(&mut out)?;
    answer.hint_at_more();
    Ok(())
}
