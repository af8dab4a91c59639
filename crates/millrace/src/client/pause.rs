//! `millrace pause` and `millrace resume`.

use std::io::{Write, stdout};
use std::time::Duration;

use super::ClientError;
use super::server::{Answer, Server};
use super::table::cell;
use crate::cli::DeploymentArgs;

/// `verb` is the last part of the path.
pub async fn run(args: DeploymentArgs, verb: &str) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.deployment_id(&args.name).await?;
    let path = ["api", "deployments", &id, verb];
    let answer = server
        .post(&path, &[], String::new(), Duration::ZERO)
        .await?;
    show(&mut stdout().lock(), &answer, args.server.json)
}

/// The deployment that the server answered, in one line.
pub fn show(out: &mut impl Write, answer: &Answer, json: bool) -> Result<(), ClientError> {
    if json {
        return Ok(answer.write(out)?);
    }
    let deployment = &answer.json;
    Ok(writeln!(
        out,
        "{} version {} is {} ({})",
        cell(&deployment["name"]),
        cell(&deployment["version"]),
        cell(&deployment["status"]),
        cell(&deployment["id"])
    )?)
}
