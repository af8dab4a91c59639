//! `millrace project create|services|delete`.

use std::io::{Write as _, stdout};
use std::time::Duration;

use serde_json::json;

use super::ClientError;
use super::server::Server;
use super::table::{Table, cell};
use crate::cli::{ProjectCommand, ProjectCreateArgs, ProjectNamedArgs};

pub async fn run(command: ProjectCommand) -> Result<(), ClientError> {
    match command {
        ProjectCommand::Create(args) => create(args).await,
        ProjectCommand::Services(args) => services(args).await,
        ProjectCommand::Delete(args) => delete(args).await,
    }
}

async fn create(args: ProjectCreateArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server.server)?;
    // The server knows another working directory.
    let path = std::path::absolute(&args.path).map_err(|source| ClientError::File {
        path: args.path.clone(),
        source,
    })?;
    let path = path.to_str().ok_or_else(|| {
        ClientError::Usage(format!("{}: the path is not UTF-8", args.path.display()))
    })?;
    let name = args.name.as_ref().unwrap_or(&args.key);
    let body = json!({"name": name, "key": args.key, "localPath": path});
    let path = ["api", "projects"];
    let answer = server
        .post(&path, &[], body.to_string(), Duration::ZERO)
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let project = &answer.json;
    let (id, key, path) = (&project["id"], &project["key"], &project["localPath"]);
    Ok(writeln!(out, "{} {} {}", cell(id), cell(key), cell(path))?)
}

async fn services(args: ProjectNamedArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server.server)?;
    let id = server.project_id(&args.project).await?;
    let answer = server
        .get(&["api", "projects", &id, "services"], &[])
        .await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let mut table = Table::new(["SERVICE", "TYPE", "WORKLOAD", "PROBLEMS"]);
    for service in answer.items() {
        let problems: Vec<String> = service["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|problem| {
                format!(
                    "{} {}",
                    cell(&problem["pointer"]),
                    cell(&problem["message"])
                )
            })
            .collect();
        table.row([
            cell(&service["name"]),
            cell(&service["type"]),
            cell(&service["workloadId"]),
            problems.join("; "),
        ]);
    }
    Ok(table.write(&mut out)?)
}

async fn delete(args: ProjectNamedArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server.server)?;
    let id = server.project_id(&args.project).await?;
    server.delete(&["api", "projects", &id]).await.map(drop)
}
