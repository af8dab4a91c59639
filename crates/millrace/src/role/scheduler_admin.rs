//! `/admin/scheduler` on the admin listener: how the scheduler is, and its
//! switch. What it switches is stored, and holds for all instances.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_runtime::{SchedulerControl, SchedulerControlError, SchedulerStatus};
use millrace_service::admin::Refusal;
use millrace_store::SchedulerCommand;
use serde::Deserialize;

/// The switch, once there is a runtime; the listener is there before.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<OnceLock<SchedulerControl>>);

impl Switch {
    pub fn connect(&self, control: SchedulerControl) {
        // There is one runtime in a process; a second connect changes nothing.
        let _ = self.0.set(control);
    }
}

pub fn router(switch: Switch) -> Router {
    Router::new()
        .route("/admin/scheduler", get(status))
        .route("/admin/scheduler/{command}", post(command))
        .with_state(switch)
}

async fn status(State(switch): State<Switch>) -> Result<Json<SchedulerStatus>, Refusal> {
    let control = connected(&switch)?;
    control.status().await.map(Json).map_err(refusal)
}

/// `stop`, `start` or `restart`; the body may be `{"reason": "…"}`.
async fn command(
    State(switch): State<Switch>,
    Path(command): Path<String>,
    body: Bytes,
) -> Result<Json<SchedulerStatus>, Refusal> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(default)]
        reason: String,
    }
    let command = match command.as_str() {
        "stop" => SchedulerCommand::Stop,
        "start" => SchedulerCommand::Start,
        "restart" => SchedulerCommand::Restart,
        other => {
            let why = format!("`{other}` is not one of stop, start, restart");
            return Err(Refusal::new(StatusCode::NOT_FOUND, why));
        }
    };
    let asked = if body.is_empty() {
        Asked::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?
    };
    let control = connected(&switch)?;
    let status = control.command(command, &asked.reason).await;
    status.map(Json).map_err(refusal)
}

fn connected(switch: &Switch) -> Result<&SchedulerControl, Refusal> {
    let starting = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "this process is starting");
    switch.0.get().ok_or_else(starting)
}

fn refusal(error: SchedulerControlError) -> Refusal {
    match error {
        SchedulerControlError::Reason => Refusal::new(StatusCode::BAD_REQUEST, error.to_string()),
        SchedulerControlError::Ending => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        SchedulerControlError::Store(error) => {
            tracing::warn!(%error, "the scheduler's switch could not be reached");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database is unavailable",
            )
        }
    }
}
