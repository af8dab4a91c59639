//! `millrace project create|update|services|delete`.

use std::io::{Write as _, stdout};
use std::time::Duration;

use serde_json::json;

use super::ClientError;
use super::server::{Answer, Server};
use super::table::{Table, cell};
use crate::cli::{ProjectCommand, ProjectCreateArgs, ProjectNamedArgs, ProjectUpdateArgs};

/// What a fetch may take, on top of any answer.
const FETCH: Duration = Duration::from_mins(5);

pub async fn run(command: ProjectCommand) -> Result<(), ClientError> {
    match command {
        ProjectCommand::Create(args) => create(args).await,
        ProjectCommand::Update(args) => update(args).await,
        ProjectCommand::Services(args) => services(args).await,
        ProjectCommand::Delete(args) => delete(args).await,
    }
}

async fn create(args: ProjectCreateArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let name = args.name.as_ref().unwrap_or(&args.key);
    let mut body = json!({"name": name, "key": args.key});
    let mut wait = Duration::ZERO;
    if let Some(url) = &args.git {
        body["git"] = json!({"url": url, "ref": args.reference});
        wait = FETCH;
    }
    if let Some(given) = &args.path {
        // The server knows another working directory.
        let path = std::path::absolute(given).map_err(|source| ClientError::File {
            path: given.clone(),
            source,
        })?;
        let path = path.to_str().ok_or_else(|| {
            ClientError::Usage(format!("{}: the path is not UTF-8", given.display()))
        })?;
        body["localPath"] = path.into();
    }
    let path = ["api", "projects"];
    let answer = server.post(&path, &[], body.to_string(), wait).await?;
    show(&answer, args.server.json)
}

async fn update(args: ProjectUpdateArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.project_id(&args.project).await?;
    let git = args.reference.map(|reference| json!({"ref": reference}));
    let body = json!({"git": git.unwrap_or_else(|| json!({}))});
    let path = ["api", "projects", &id];
    let answer = server.patch(&path, body.to_string(), FETCH).await?;
    show(&answer, args.server.json)
}

fn show(answer: &Answer, json: bool) -> Result<(), ClientError> {
    let mut out = stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", answer.text.trim_end())?);
    }
    let project = &answer.json;
    let (id, key, path) = (&project["id"], &project["key"], &project["localPath"]);
    write!(out, "{} {} {}", cell(id), cell(key), cell(path))?;
    if let Some(commit) = project["git"]["commit"].as_str() {
        write!(out, " {commit}")?;
    }
    Ok(writeln!(out)?)
}

async fn services(args: ProjectNamedArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
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
    let server = Server::new(&args.server)?;
    let id = server.project_id(&args.project).await?;
    server.delete(&["api", "projects", &id]).await.map(drop)
}
