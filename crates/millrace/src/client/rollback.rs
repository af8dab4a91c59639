//! `millrace rollback`.

use std::io::stdout;
use std::time::Duration;

use serde_json::json;

use super::ClientError;
use super::pause::show;
use super::server::Server;
use crate::cli::RollbackArgs;

pub async fn run(args: RollbackArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.deployment_id(&args.name).await?;
    let path = ["api", "deployments", &id, "rollback"];
    let body = json!({"version": args.version}).to_string();
    let answer = server.post(&path, &[], body, Duration::ZERO).await?;
    show(&mut stdout().lock(), &answer, args.server.json)
}
