//! `millrace projects`.

use std::io::{Write as _, stdout};

use super::ClientError;
use super::server::Server;
use super::table::{Table, cell, time};
use crate::cli::ProjectsArgs;

pub async fn run(args: ProjectsArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let answer = server.list(&["api", "projects"], &[], &args.page).await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let mut table = Table::new(["ID", "KEY", "NAME", "CREATED", "PATH"]);
    for project in answer.items() {
        table.row([
            cell(&project["id"]),
            cell(&project["key"]),
            cell(&project["name"]),
            time(&project["createdAt"]),
            cell(&project["localPath"]),
        ]);
    }
    table.write(&mut out)?;
    answer.hint_at_more();
    Ok(())
}
