//! `millrace delete`.

use std::io::{Write as _, stdout};

use super::ClientError;
use super::server::Server;
use super::table::printable;
use crate::cli::DeploymentArgs;

pub async fn run(args: DeploymentArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.deployment_id(&args.name).await?;
    let answer = server.delete(&["api", "deployments", &id]).await?;
    let mut out = stdout().lock();
    if args.server.json {
        return Ok(answer.write(&mut out)?);
    }
    let name = printable(&args.name);
    Ok(writeln!(out, "{name} is archived ({id})")?)
}
