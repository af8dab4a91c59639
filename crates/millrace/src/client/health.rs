//! `millrace health`: what a container's health check runs.

use std::time::Duration;

use super::ClientError;
use super::server::{Server, innermost};
use crate::cli::HealthArgs;

/// Health checks ask again soon; one that hangs says as much as one that fails.
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn run(args: HealthArgs) -> Result<(), ClientError> {
    let (http, url) = Server::client("--url", &args.url, None)?;
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        server: args.url.clone(),
        reason: innermost(&error),
    };
    let response = http.get(url).timeout(PATIENCE).send().await;
    let response = response.map_err(unreachable)?;
    let status = response.status();
    let text = response.text().await.map_err(unreachable)?;
    let text = text.trim_end();
    if status.is_success() {
        println!("{text}");
        return Ok(());
    }
    Err(ClientError::NotReady {
        status: status.as_u16(),
        why: text.lines().next().unwrap_or_default().to_owned(),
    })
}
